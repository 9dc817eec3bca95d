"""LESS: the training rows whose gradients, as Adam would apply them, point at the target."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import RegisterDistiller

HARNESS_API = 1


@hookimpl
def harness_register_distillers(register: RegisterDistiller) -> None:
    register(
        "less",
        "harness_less.less:Less",
        summary="instructions whose gradients help the target most, by a short LoRA run",
        produces="selection",
        version="1",
    )

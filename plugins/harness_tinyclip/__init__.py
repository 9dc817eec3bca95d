"""TinyCLIP: a smaller CLIP that inherits its teacher's weights and mimics its affinities."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import RegisterDistiller

HARNESS_API = 1


@hookimpl
def harness_register_distillers(register: RegisterDistiller) -> None:
    register(
        "tinyclip",
        "harness_tinyclip.tiny_clip:TinyClip",
        summary="the teacher's affinities, from the teacher's own weights made smaller",
        produces="model",
        version="1",
    )

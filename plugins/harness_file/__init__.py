"""Sets that were distilled elsewhere, as a method."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import RegisterDistiller

HARNESS_API = 1


@hookimpl
def harness_register_distillers(register: RegisterDistiller) -> None:
    register(
        "file",
        "harness_file.distilled_file:DistilledFile",
        summary="a set made elsewhere: file:PATH, or file:hf:OWNER/NAME on the hub",
        produces="synthesis",
        version="1",
        argument="path",
    )

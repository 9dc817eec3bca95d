"""LightCLIP: a small CLIP trained with softened labels, matched tokens and masked words."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import RegisterDistiller

HARNESS_API = 1


@hookimpl
def harness_register_distillers(register: RegisterDistiller) -> None:
    register(
        "lightclip",
        "harness_lightclip.light_clip:LightClip",
        summary="softened labels, patches matched to words, masked words (a reconstruction)",
        produces="model",
        version="1",
    )

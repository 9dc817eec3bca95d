"""DiLM: a labelled text set distilled into a language model (arXiv 2404.00264)."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import RegisterDistiller

HARNESS_API = 1


@hookimpl
def harness_register_distillers(register: RegisterDistiller) -> None:
    register(
        "dilm",
        "harness_dilm.distiller:DiLM",
        summary="texts of a language model tuned to match the gradients of real data",
        produces="synthesis",
        version="3",
    )
    register(
        "vanilla-lm",
        "harness_dilm.distiller:VanillaLM",
        summary="texts of a class-conditional language model, chosen by k-means",
        produces="synthesis",
        version="2",
    )

"""Evaluators of models that encode images and texts: zero-shot, retrieval and linear probe."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import Register

HARNESS_API = 1


@hookimpl
def harness_register_evaluators(register: Register) -> None:
    register(
        "zero-shot",
        "harness_zero_shot.zero_shot:ZeroShot",
        summary="the class whose texts are nearest to the image: top 1, top 5, recall of classes",
        version="1",
    )
    register(
        "retrieval",
        "harness_zero_shot.retrieval:Retrieval",
        summary="recall at 1, 5 and 10 of images by caption and of captions by image",
        version="1",
    )
    register(
        "linear-probe",
        "harness_zero_shot.linear_probe:LinearProbe",
        summary="logistic regression on frozen image embeddings",
        version="1",
    )

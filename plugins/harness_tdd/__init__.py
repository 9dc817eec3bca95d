"""Embedding-level dataset distillation: rows of vectors that train a classifier in a few steps."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import RegisterDistiller

HARNESS_API = 1


@hookimpl
def harness_register_distillers(register: RegisterDistiller) -> None:
    register(
        "tdd",
        "harness_tdd.vectors:Tdd",
        summary="vectors and soft labels learned through a few training steps, for one model",
        produces="arrays",
        version="1",
    )
    register(
        "tdd-tokens",
        "harness_tdd.tokens:TddTokens",
        summary="the same with each vector replaced by its nearest token, as text",
        produces="synthesis",
        version="1",
    )

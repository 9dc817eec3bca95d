"""Relevance to a target: BM25, DSIR, RDS and RDS+; perplexity and length as plain scores."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import RegisterDistiller

HARNESS_API = 1


@hookimpl
def harness_register_distillers(register: RegisterDistiller) -> None:
    register(
        "bm25",
        "harness_relevance.bm25:BM25",
        summary="rows that share rare words with the target's",
        produces="selection",
        version="1",
        deterministic=True,
    )
    register(
        "dsir",
        "harness_relevance.dsir:DSIR",
        summary="rows drawn by how much likelier their n-grams are in the target than in the pool",
        produces="selection",
        version="1",
    )
    register(
        "rds",
        "harness_relevance.rds:RDS",
        summary="rows whose last hidden state points as the mean of some subtask's does",
        produces="selection",
        version="1",
        deterministic=True,
    )
    register(
        "rds-plus",
        "harness_relevance.rds_plus:RDSPlus",
        summary="the target's examples choose in turn, by position-weighted mean hidden states",
        produces="selection",
        version="1",
        deterministic=True,
    )
    register(
        "perplexity",
        "harness_relevance.perplexity:Perplexity",
        summary="rows whose completions are of middling, low or high perplexity",
        produces="selection",
        version="1",
        deterministic=True,
    )
    register(
        "length",
        "harness_relevance.length:Length",
        summary="rows with the longest or the shortest completions",
        produces="selection",
        version="1",
        deterministic=True,
    )

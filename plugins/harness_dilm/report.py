"""The method's report: quality of its samples, and how matching went."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.types import TaskData
from harness_dilm.generator.model import Generator
from harness_dilm.generator.synthesis import SyntheticRows
from harness_dilm.selection import first_of_each

Report = dict[str, float | int | str]
WINDOW = 0.1
"""The share of the updates that stands for the start and for the end."""


def report_language_model(losses: np.ndarray) -> Report:
    """Mean loss over the first and the last tenth of the steps."""
    if not len(losses):
        return {"lm_steps": 0}
    start, end = ends(losses)
    return {"lm_steps": len(losses), "lm_loss_start": start, "lm_loss_end": end}


def report_matching(trace: Mapping[str, np.ndarray], inner_steps: int, between: int) -> Report:
    """Similarity and gradient norm at start and end, and by learner step, over the run.

    Class-wise head gradients are nearly parallel before the learner's first update, so the
    similarity at learner step 0 says little.
    """
    report: Report = {"match_updates": len(trace["similarity"])}
    for name in ("similarity", "gradient_norm"):
        report[f"{name}_start"], report[f"{name}_end"] = ends(trace[name])
        for inner in range(inner_steps):
            mean = float(trace[name][inner::inner_steps].mean())
            report[f"{name}_at_learner_step_{inner * between}"] = mean
    report["zero_gradients"] = int(trace["degenerate"].sum())
    report["sample_age_mean"] = float(trace["age"].mean())
    report["sample_age_max"] = int(trace["age"].max())
    report["pool_used_share"] = float(trace["used_share"].mean())
    return report


def report_samples(
    generator: Generator, pool: SyntheticRows, kept: np.ndarray, task: TaskData
) -> Report:
    """Shares among the generated rows of what a reader should know of.

    malformed, empty: of all samples drawn, those drawn again; truncated: without an end token;
    duplicates: equal to an earlier row; train copies: equal to a train row; re-encoding: rows
    whose text gives other tokens than were sampled.
    """
    drawn = len(pool) + pool.malformed
    known = set(zip(*(map(str.strip, task.train[c]) for c in task.input_columns), strict=True))
    copies = np.array([fields in known for fields in pool.fields])
    return {
        "generated": len(pool),
        "selection_ratio": len(pool) / len(kept),
        "share_malformed": pool.malformed / drawn,
        "share_empty": pool.empty / drawn,
        "share_truncated": float(1.0 - pool.complete.mean()),
        "share_duplicates": 1.0 - len(first_of_each(pool.fields)) / len(pool),
        "share_train_copies": float(copies.mean()),
        "share_train_copies_kept": float(copies[kept].mean()),
        "share_reencoded_otherwise": reencoding_mismatch(generator, pool),
    }


def reencoding_mismatch(generator: Generator, pool: SyntheticRows) -> float:
    """The share of rows whose text, tokenised again, differs from the sampled ids."""
    rows = pool.dataset(range(len(pool)))
    again = generator.format.encode(rows, generator.max_length).ids
    pairs = zip(again, pool.sequences.ids, pool.complete, strict=True)
    return float(
        np.mean([not np.array_equal(new if whole else new[:-1], old) for new, old, whole in pairs])
    )


def ends(values: np.ndarray) -> tuple[float, float]:
    """Means over the first and over the last tenth."""
    window = max(1, round(WINDOW * len(values)))
    return float(values[:window].mean()), float(values[-window:].mean())

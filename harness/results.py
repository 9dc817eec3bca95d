"""Records read back from a results folder, as objects, as a frame and as a board."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from harness.budget import Budget
from harness.errors import StoreError, UsageError
from harness.record import Record

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import TypeAdapter

    from harness.leaderboard.board import Board
    from harness.leaderboard.table import SeedPair

RECORDS = "records"
FAILURES = "failures"


@dataclass(frozen=True)
class Problem:
    """A file of the results folder that could not be used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Failure:
    """A cell of the plan that did not become a record.

    key: of the evaluate stage, as the record's would be.
    task, distiller, student, evaluator: labels such as `bert:minilm`, as in a record.
    stage: `unknown` when the process died in the middle.
    error: the exception's type; message: its text; trace: where it happened, for errors that
    are not the harness's own.
    """

    key: str
    task: str
    distiller: str
    budget: str
    student: str
    evaluator: str
    distill_seed: int
    fit_seed: int
    stage: Literal["distill", "fit", "evaluate", "unknown"]
    error: str
    message: str
    trace: str = ""

    def to_json(self) -> bytes:
        """The document as stored: sorted keys, a newline at the end."""
        import json

        return (json.dumps(asdict(self), sort_keys=True, indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, text: bytes, *, where: str) -> Failure:
        """Reads and validates a stored document.

        Raises:
            StoreError: it is cut off or not a failure.
        """
        try:
            return _failure_adapter().validate_json(text)
        except ValueError as error:
            raise StoreError(
                f"{where} is not a complete failure report ({error})",
                hint="Delete the file and run the same command again.",
            ) from error


@dataclass(frozen=True)
class Results:
    """Records in the order of their keys, with what failed and what could not be read."""

    records: tuple[Record, ...]
    failures: tuple[Failure, ...] = ()
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def only(self, keys: Collection[str]) -> Results:
        """The records and failures with these keys."""
        wanted = frozenset(keys)
        return Results(
            tuple(record for record in self.records if record.key in wanted),
            tuple(failure for failure in self.failures if failure.key in wanted),
            self.problems,
        )

    def filter(
        self,
        *,
        task: str | Collection[str] = (),
        distiller: str | Collection[str] = (),
        student: str | Collection[str] = (),
        evaluator: str | Collection[str] = (),
        budget: str | Collection[str] = (),
        suite: str | Collection[str] = (),
    ) -> Results:
        """What matches every given field, by name (`bert`) or by label (`bert:minilm`).

        Failures carry no suite, so filtering by suite keeps them all.
        """

        def keep_record(record: Record) -> bool:
            return (
                _matches(record.task.component.label, task)
                and _matches(record.distiller.label, distiller)
                and _matches(record.student.component.label, student)
                and _matches(record.evaluator.label, evaluator)
                and _matches(record.budget, budget)
                and _matches(record.suite, suite)
            )

        def keep_failure(failure: Failure) -> bool:
            return (
                _matches(failure.task, task)
                and _matches(failure.distiller, distiller)
                and _matches(failure.student, student)
                and _matches(failure.evaluator, evaluator)
                and _matches(failure.budget, budget)
            )

        return Results(
            tuple(record for record in self.records if keep_record(record)),
            tuple(failure for failure in self.failures if keep_failure(failure)),
            self.problems,
        )

    def to_pandas(self) -> pd.DataFrame:
        """One row for each record, with flat columns; metrics are fractions."""
        import pandas as pd

        return pd.DataFrame([_flat(record) for record in self.records])

    def board(
        self,
        *,
        expected: Collection[SeedPair] = (),
        allow_mixed: bool = False,
        baseline: str = "random",
        reference: str = "full",
    ) -> Board:
        """The leaderboard of these records; see `harness.leaderboard.board.build_board`."""
        from harness.leaderboard.board import build_board

        return build_board(
            self,
            expected=expected,
            allow_mixed=allow_mixed,
            baseline=baseline,
            reference=reference,
        )


def load_records(folder: Path, *, missing_ok: bool = False) -> Results:
    """Reads `records/*.json` and `failures/*.json` of a results folder.

    A file that cannot be used becomes a `Problem`; the others are still read.

    Raises:
        UsageError: the folder does not exist or holds nothing to read, unless `missing_ok`.
    """
    if not missing_ok and not folder.is_dir():
        raise UsageError(
            f"there is no results folder {folder}",
            hint="Name the folder that `harness bench --output` wrote.",
        )
    problems: list[Problem] = []
    records = [
        record
        for path in _documents(folder / RECORDS)
        if (record := _read(path, _read_record, problems)) is not None
    ]
    done = {record.key for record in records}
    failures = [
        failure
        for path in _documents(folder / FAILURES)
        if (failure := _read(path, Failure.from_json, problems)) is not None
        and failure.key not in done
    ]
    if not missing_ok and not (records or failures or problems):
        raise UsageError(
            f"the results folder {folder} holds no records",
            hint="Run `harness bench` with this folder as --output first.",
        )
    return Results(
        tuple(sorted(records, key=lambda record: record.key)),
        tuple(sorted(failures, key=lambda failure: failure.key)),
        tuple(problems),
    )


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


K = TypeVar("K", bound=_Keyed, covariant=True)


class _Reader(Protocol[K]):
    def __call__(self, text: bytes, *, where: str) -> K: ...


def _documents(folder: Path) -> list[Path]:
    """Stored documents by name; names that start with a dot are writes in progress."""
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def _read(path: Path, reader: _Reader[K], problems: list[Problem]) -> K | None:
    try:
        document = reader(path.read_bytes(), where=path.name)
    except (StoreError, OSError) as error:
        reason = error.message if isinstance(error, StoreError) else str(error)
        problems.append(Problem(path, reason))
        return None
    if f"{document.key}.json" != path.name:
        problems.append(Problem(path, f"{path.name} holds the key '{document.key}'"))
        return None
    return document


def _read_record(text: bytes, *, where: str) -> Record:
    """A record whose numbers can be used, not only one of the right shape."""
    record = Record.from_json(text, where=where)
    if record.main not in record.metrics:
        raise StoreError(f"{where} has no value for its main metric '{record.main}'")
    for name, value in record.metrics.items():
        if not math.isfinite(value):
            raise StoreError(f"{where} has {name} = {value}, which is not a finite number")
    try:
        Budget.parse(record.budget)
    except UsageError as error:
        raise StoreError(f"{where}: {error.message}") from error
    for name in record.items:
        _check_items(record, name, where)
    return record


def _check_items(record: Record, name: str, where: str) -> None:
    import zlib

    try:
        record.items[name].unpack()
    except (StoreError, ValueError, zlib.error) as error:
        raise StoreError(f"{where} has damaged item outcomes '{name}' ({error})") from error


def _matches(label: str, wanted: str | Collection[str]) -> bool:
    choices = {wanted} if isinstance(wanted, str) else set(wanted)
    return not choices or bool(choices & {label, label.partition(":")[0]})


def _flat(record: Record) -> dict[str, Any]:
    import json

    return {
        "key": record.key,
        "suite": record.suite,
        "suite_version": record.suite_version,
        "protocol": record.protocol,
        "task": record.task.component.label,
        "task_version": record.task.version,
        "task_fingerprint": record.task.fingerprint,
        "task_source": f"{record.task.source_kind}: {record.task.source_detail}",
        "distiller": record.distiller.label,
        "distiller_version": record.distiller.version,
        "distiller_options": json.dumps(record.distiller.options, sort_keys=True),
        "budget": record.budget,
        "distill_seed": record.distill_seed,
        "fit_seed": record.fit_seed,
        "student": record.student.component.label,
        "student_source": record.student.source,
        "student_parameters": record.student.parameters,
        "evaluator": record.evaluator.label,
        "evaluator_version": record.evaluator.version,
        "main": record.main,
        "value": record.value,
        **{f"metric_{name}": value for name, value in sorted(record.metrics.items())},
        "learning_rate": record.tuning.chosen,
        "distilled_rows": record.distilled.rows,
        "distilled_bytes": record.distilled.bytes,
        "distilled_content": record.distilled.content,
        "distill_seconds": record.costs.distill.seconds,
        "fit_seconds": record.costs.fit.seconds,
        "evaluate_seconds": record.costs.evaluate.seconds,
        "peak_bytes": max(record.costs.distill.peak_bytes, record.costs.fit.peak_bytes),
        "device": record.provenance.device,
        "commit": record.provenance.commit,
        "dirty": record.provenance.dirty,
        "created": record.provenance.created,
    }


def _failure_adapter() -> TypeAdapter[Failure]:
    from pydantic import TypeAdapter

    return TypeAdapter(Failure)

"""Reading of records from JSON, fast and checked."""

from __future__ import annotations

import gc
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from harness.errors import StoreError, UsageError
from harness.options import adapter
from harness.records.record import SCHEMA, PackedArray, Record

_SCHEMA_LINE = b'\n "schema": '
"""How a stored record says its schema, which no default may stand in for."""
_ARRAYS_KEPT = 1024
"""Arrays that are equal in many records, as the targets of a test split are, are checked once."""


def read_record(text: bytes, *, where: str) -> Record:
    """A record that a board can be made from, not only one of the right shape.

    Raises:
        StoreError: it is cut off, of a newer schema, has a number that is not finite or no value
            for its main metric, or its budget or item outcomes cannot be read.
    """
    record = _parse(text, where)
    if record.main not in record.metrics:
        raise StoreError(f"{where} has no value for its main metric '{record.main}'")
    for name, value in _numbers(record):
        if not math.isfinite(value):
            raise StoreError(f"{where} has {name} = {value}, which is not a finite number")
    _check_budget(record, where)
    for name, packed in record.items.items():
        damage = _damage(packed)
        if damage:
            raise StoreError(f"{where} has damaged item outcomes '{name}' ({damage})")
    return record


@contextmanager
def collector_paused() -> Iterator[None]:
    """For reading many records: they are all kept, so looking for garbage among them is in vain
    and takes longer than the reading."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _parse(text: bytes, where: str) -> Record:
    """The record, read in one go if it is laid out as `Record.to_json` does; all else, and what
    that way refuses, is read step by step, which accepts it or says what is wrong."""
    if _SCHEMA_LINE in text:
        try:
            record = adapter(Record).validate_json(text)
        except ValueError:
            pass
        else:
            if record.schema <= SCHEMA:
                return record
    return Record.from_json(text, where=where)


def _numbers(record: Record) -> Iterator[tuple[str, float]]:
    """The numbers that a board computes with."""
    yield from record.metrics.items()
    for stage in ("distill", "fit", "evaluate"):
        yield f"seconds of {stage}", getattr(record.costs, stage).seconds
    yield "learning rate", record.tuning.chosen


def _check_budget(record: Record, where: str) -> None:
    try:
        _ = record.parsed_budget
    except UsageError as error:
        raise StoreError(f"{where}: {error.message}") from error


@lru_cache(maxsize=_ARRAYS_KEPT)
def _damage(packed: PackedArray) -> str:
    """Why an array cannot be unpacked; empty when it can."""
    try:
        packed.unpack()
    except (StoreError, ValueError, zlib.error) as error:
        return str(error) or type(error).__name__
    return ""

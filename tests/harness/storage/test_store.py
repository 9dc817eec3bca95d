"""The store: nothing half-written is ever taken for whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.api import BenchResult
from harness.errors import ComputedElsewhere, StoreError
from harness.fingerprint import rows_digest
from harness.records.curves import Curve
from harness.records.record import Cost, PackedArray, Record
from harness.storage.arrays import StoredArrays
from harness.storage.artifacts import Distilled
from harness.storage.atomic import atomic_folder, write_atomic
from harness.storage.store import Store
from harness.testing.toys import toy_task
from harness.types import DistilledData

TASK = toy_task()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "results")
    made.prepare()
    return made


def test_a_distilled_set_comes_back_as_it_was(store: Store) -> None:
    data = replace(
        DistilledData.select(TASK, [5, 3, 8], report={"radius": 0.5}),
        soft_labels=np.array([[0.1, 0.9], [0.5, 0.5], [1.0, 0.0]]),
        weights=np.array([1.0, 2.0, 3.0], dtype=np.float32),
        used_splits=("train", "validation"),
    )
    curves = {"loss": Curve((1, 2), (0.5, 0.25))}
    pictures = {"way": b"a", "other-way": b"b"}
    store.save_distilled("k", Distilled(data, Cost(1.5, 10, 20), curves, pictures))
    found = store.distilled("k", TASK.train)
    assert found is not None
    assert rows_digest(found.data.rows) == rows_digest(data.rows)
    assert found.cost == Cost(1.5, 10, 20)
    assert found.curves == curves
    assert found.pictures == pictures
    assert found.data.report == {"radius": 0.5}
    assert found.data.used_splits == ("train", "validation")
    for name in ("indices", "soft_labels", "weights"):
        ours, theirs = getattr(data, name), getattr(found.data, name)
        assert theirs.dtype == ours.dtype
        np.testing.assert_array_equal(theirs, ours)


def test_a_folder_takes_its_name_only_when_whole(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_folder(tmp_path / "thing") as partial:
            (partial / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not (tmp_path / "thing").exists()
    with atomic_folder(tmp_path / "thing") as partial:
        assert list(partial.iterdir()) == []
        (partial / "all").write_text("y")
    assert [f.name for f in (tmp_path / "thing").iterdir()] == ["all"]


def test_a_failed_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "results").prepare()


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "results").prepare()


def test_shared_arrays_are_computed_once_and_charged_to_every_user(store: Store) -> None:
    calls: list[int] = []

    def compute() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"a": np.arange(4.0)}

    first, second = StoredArrays(store), StoredArrays(store)
    made = first.arrays("embed", {"of": "x"}, compute)
    found = second.arrays("embed", {"of": "x"}, compute)
    np.testing.assert_array_equal(made["a"], found["a"])
    assert len(calls) == 1
    assert first.found_seconds == 0
    assert second.found_seconds > 0
    second.arrays("embed", {"of": "y"}, compute)
    assert len(calls) == 2


LAYOUTS = {
    "transposed": lambda a: a.T,
    "slice of the last axis": lambda a: a[:, 1:3],
    "every second row": lambda a: a[::2],
    "backwards": lambda a: a[::-1],
    "chosen columns": lambda a: a[:, np.array([3, 0, 2])],
    "one of a stack": lambda a: np.stack([a, a + 1, a + 2])[:, np.array([2, 0, 1])][1],
    "column by column": np.asfortranarray,
    "a number without axes": lambda a: a[1, 2].reshape(()),
    "one number for all": lambda a: np.broadcast_to(a[0, 0], (3, 2)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shared_arrays_come_back_whatever_their_layout_in_memory(store: Store, layout: str) -> None:
    array = LAYOUTS[layout](np.arange(12.0, dtype=np.float32).reshape(3, 4))
    StoredArrays(store).arrays("embed", {}, lambda: {"a": array})
    found = StoredArrays(store).arrays("embed", {}, dict)["a"]
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_set_s_arrays_come_back_whatever_their_layout_in_memory(
    store: Store, layout: str
) -> None:
    array = LAYOUTS[layout](np.arange(12.0).reshape(3, 4))
    data = replace(
        DistilledData.select(TASK, [5, 3]),
        soft_labels=np.array([[0.1, 0.5], [0.9, 0.5]]).T,
        arrays={"vectors": array},
    )
    store.save_distilled("k", Distilled(data, Cost(1.5, 10, 20), {}, {}))
    found = store.distilled("k", TASK.train)
    assert found is not None
    np.testing.assert_array_equal(found.data.arrays["vectors"], array)
    assert data.soft_labels is not None
    assert found.data.soft_labels is not None
    np.testing.assert_array_equal(found.data.soft_labels, data.soft_labels)


def test_waiting_for_another_stage_is_not_charged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("harness.storage.arrays.time", SimpleNamespace(monotonic=lambda: clock[0]))

    def compute() -> dict[str, np.ndarray]:
        clock[0] += 7
        return {"a": np.arange(3)}

    StoredArrays(store).arrays("slow", {}, compute)
    free = store.lock

    @contextmanager
    def taken(name: str) -> Iterator[None]:
        clock[0] += 100
        with free(name):
            yield

    monkeypatch.setattr(store, "lock", taken)
    waiting, started = StoredArrays(store), clock[0]
    waiting.arrays("slow", {}, compute)
    assert clock[0] - started + waiting.extra_seconds == 7
    inside, started = StoredArrays(store), clock[0]
    inside.arrays("outer", {}, lambda: inside.arrays("slow", {}, compute))
    assert clock[0] - started + inside.extra_seconds == 7
    later = StoredArrays(store)
    later.arrays("outer", {}, compute)
    assert later.found_seconds == 7


def test_who_is_not_patient_does_not_wait_for_an_array(store: Store) -> None:
    def inside() -> dict[str, np.ndarray]:
        with pytest.raises(ComputedElsewhere):
            StoredArrays(store, patient=False).arrays("slow", {}, dict)
        return {"a": np.arange(3)}

    StoredArrays(store).arrays("slow", {}, inside)
    found = StoredArrays(store, patient=False).arrays("slow", {}, dict)
    assert list(found["a"]) == [0, 1, 2]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 255)), st.sampled_from(["bool", "uint8", "int32", "float32"]))
def test_packed_items_unpack_to_the_same(values: list[int], dtype: str) -> None:
    array = np.array(values).astype(dtype)
    unpacked = PackedArray.pack(array).unpack()
    assert unpacked.dtype == array.dtype
    np.testing.assert_array_equal(unpacked, array)


def test_a_record_survives_the_round_trip(run_toy: Callable[..., BenchResult]) -> None:
    record = run_toy(seeds=[0]).results.records[0]
    again = Record.from_json(record.to_json(), where="here")
    assert again.to_json() == record.to_json()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_half_written_record_counts_as_missing_and_is_computed_anew(
    run_toy: Callable[..., BenchResult], tmp_path: Path, share: float
) -> None:
    result = run_toy(seeds=[0])
    path = tmp_path / "results" / "records" / f"{result.results.records[0].key}.json"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    again = run_toy(seeds=[0])
    assert (again.outcome.computed, again.outcome.reused) == (1, 2)
    assert (
        Record.from_json(path.read_bytes(), where="here").value == result.results.records[0].value
    )


def test_a_record_of_a_newer_schema_is_refused() -> None:
    with pytest.raises(StoreError, match="schema 99"):
        Record.from_json(b'{"schema": 99}', where="here")

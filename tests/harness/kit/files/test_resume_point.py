"""A resume point is the last one written for the same inputs, whole, or none at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.kit.files import resume_point
from harness.kit.files.resume_point import ResumePoint, computed_in_steps

INPUTS = {"seed": 3, "options": {"steps": 10}}
ARRAYS = {
    "step": np.array([7]),
    "weights": np.arange(6.0, dtype=np.float32).reshape(2, 3).T,
    "none": np.empty((0, 4)),
    "flag": np.array([True]),
}


def make(folder: Path, **inputs: object) -> ResumePoint:
    return ResumePoint(folder / "work" / "phase.safetensors", {**INPUTS, **inputs})


def require_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_another_process_reads_what_was_written_last(tmp_path: Path) -> None:
    first = make(tmp_path)
    assert first.read() == {}
    first.write({"step": np.array([1])})
    first.write(ARRAYS)
    require_equal(make(tmp_path).read(), ARRAYS)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["phase.safetensors"]


@pytest.mark.parametrize("other", [{"seed": 4}, {"options": {"steps": 11}}, {"more": 1}])
def test_one_of_other_inputs_is_not_read_and_is_replaced(
    tmp_path: Path, other: dict[str, object]
) -> None:
    make(tmp_path, **other).write(ARRAYS)
    mine = make(tmp_path)
    assert mine.read() == {}
    mine.write({"step": np.array([1])})
    assert make(tmp_path, **other).read() == {}
    require_equal(make(tmp_path).read(), {"step": np.array([1])})


@pytest.mark.parametrize("damage", ["cut", "header", "bit", "empty", "foreign"])
def test_a_damaged_one_is_not_read(tmp_path: Path, damage: str) -> None:
    make(tmp_path).write(ARRAYS)
    path = tmp_path / "work" / "phase.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[-3] ^= 1
    if damage == "header":
        content[9] ^= 255
    kept = {"cut": content[:-5], "empty": b"", "foreign": b"not a file of arrays" * 9}
    path.write_bytes(kept.get(damage, content))
    assert make(tmp_path).read() == {}


def test_what_a_kill_left_of_a_write_is_removed(tmp_path: Path) -> None:
    make(tmp_path).write(ARRAYS)
    left = tmp_path / "work" / "phase.123.partial"
    left.write_bytes(b"half of it")
    require_equal(make(tmp_path).read(), ARRAYS)
    assert not left.exists()


def test_it_is_due_once_enough_seconds_went_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(resume_point.time, "monotonic", lambda: now)
    kept = ResumePoint(tmp_path / "phase.safetensors", INPUTS, seconds=60.0)
    assert not kept.due()
    now += 60.0
    assert kept.due()
    kept.write(ARRAYS)
    assert not kept.due()


def test_a_computation_in_steps_goes_on_and_leaves_only_its_result(tmp_path: Path) -> None:
    path, began = tmp_path / "sums.safetensors", []

    def count(kept: ResumePoint) -> dict[str, np.ndarray]:
        done = int(kept.read().get("done", np.zeros(1))[0])
        began.append(done)
        for step in range(done, 5):
            if step == 3 and len(began) == 1:
                raise KeyboardInterrupt
            kept.write({"done": np.array([step + 1])})
        return {"total": np.array([5])}

    with pytest.raises(KeyboardInterrupt):
        computed_in_steps(path, INPUTS, count)
    assert [each.name for each in tmp_path.iterdir()] == ["sums.checkpoint.safetensors"]
    for _ in range(2):
        assert computed_in_steps(path, INPUTS, count)["total"] == 5
    assert began == [0, 3]
    assert list(tmp_path.iterdir()) == [path]


def test_files_beside_it_live_as_long_as_the_phase(tmp_path: Path) -> None:
    path = tmp_path / "sums.safetensors"

    def compute(kept: ResumePoint) -> dict[str, np.ndarray]:
        beside = {name: kept.beside(name) for name in ("state-1", "state-2")}
        if not beside["state-1"].read():
            for number, file in enumerate(beside.values()):
                file.write({"number": np.array([number])})
            kept.write(ARRAYS)
            raise KeyboardInterrupt
        assert kept.beside("state-3").read() == {}
        return {name: file.read()["number"] for name, file in beside.items()}

    with pytest.raises(KeyboardInterrupt):
        computed_in_steps(path, INPUTS, compute)
    assert ResumePoint(path, {"seed": 4}).beside("state-1").read() == {}
    found = computed_in_steps(path, INPUTS, compute)
    require_equal(found, {"state-1": np.array([0]), "state-2": np.array([1])})
    assert list(tmp_path.iterdir()) == [path]

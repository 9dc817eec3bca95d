"""Costs: both attempts of a resumed stage are charged, and memory is the highest held."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from harness.errors import ComputedElsewhere
from harness.machine import cost
from harness.machine.cost import Meter


def test_a_resumed_stage_is_charged_for_what_the_killed_attempt_spent(tmp_path: Path) -> None:
    (tmp_path / "spent.json").write_text(json.dumps({"seconds": 100.0}))
    with Meter(tmp_path, "cpu") as meter:
        bill = meter.cost()
    assert 100 <= bill.seconds < 101


def test_a_running_stage_notes_what_it_has_spent(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(cost, "SAMPLE_SECONDS", 0.001)
    monkeypatch.setattr(cost, "_SAVE_EVERY", 1)
    with Meter(tmp_path, "cpu"):
        while not (tmp_path / "spent.json").exists():
            pass
    assert json.loads((tmp_path / "spent.json").read_text())["seconds"] > 0


def test_shared_results_that_were_found_are_charged(tmp_path: Path) -> None:
    with Meter(tmp_path, "cpu") as meter:
        assert meter.cost(extra_seconds=50).seconds >= 50


def test_the_peak_covers_memory_that_is_already_given_back(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(cost, "SAMPLE_SECONDS", 0.001)
    with Meter(tmp_path, "cpu") as meter:
        before = meter.cost().peak_bytes
        block = np.ones(50_000_000)
        while meter.cost().peak_bytes < before + 300_000_000:
            block += 1
        del block
    assert meter.cost().peak_bytes >= before + 300_000_000


def test_a_stage_is_not_charged_for_what_earlier_ones_left(tmp_path: Path) -> None:
    """Garbage, and small blocks that lie below one that is still in use."""
    with Meter(tmp_path, "cpu") as first:
        pass
    with Meter(tmp_path, "cpu") as large:
        blocks = [bytearray(100_000) for _ in range(8_000)]
        last = bytearray(100_000)
        garbage: list[object] = [np.ones(50_000_000)]
        garbage.append(garbage)
        while large.cost().peak_bytes < first.cost().peak_bytes + 1_000_000_000:
            time.sleep(0.01)
        del blocks, garbage
    with Meter(tmp_path, "cpu") as last_stage:
        pass
    assert last_stage.cost().peak_bytes < first.cost().peak_bytes + 300_000_000
    del last


def test_an_attempt_that_was_put_off_is_free(tmp_path: Path) -> None:
    noted = tmp_path / "spent.json"
    noted.write_text(json.dumps({"seconds": 5.0}))

    def attempt() -> None:
        with Meter(tmp_path, "cpu"):
            noted.write_text(json.dumps({"seconds": 9.0}))
            raise ComputedElsewhere

    with pytest.raises(ComputedElsewhere):
        attempt()
    assert json.loads(noted.read_text()) == {"seconds": 5.0}


def test_a_damaged_note_counts_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "spent.json").write_text("{")
    with Meter(tmp_path, "cpu") as meter:
        assert meter.cost().seconds < 1

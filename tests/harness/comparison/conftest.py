"""Results folders with records whose item scores are drawn, as a bench would have left them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.records.record import PackedArray, Record

Write = Callable[[str, Iterable[Record]], Path]
Draw = Callable[..., list[Record]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes records into `tmp_path/NAME` and returns the folder."""

    def write(name: str, records: Iterable[Record]) -> Path:
        folder = tmp_path / name
        (folder / "records").mkdir(parents=True, exist_ok=True)
        for record in records:
            (folder / "records" / f"{record.key}.json").write_bytes(record.to_json())
        return folder

    return write


@pytest.fixture(scope="session")
def draw(make_record: Any) -> Draw:
    """Records of one method whose 0/1 item scores are right with a given chance."""

    def draw(
        method: str,
        chance: float,
        *,
        runs: Iterable[tuple[int, int]] = ((0, 0), (1, 0), (2, 0)),
        items: int = 60,
        **fields: Any,
    ) -> list[Record]:
        records = []
        for distill_seed, fit_seed in runs:
            seed = [sum(method.encode()), int(1000 * chance), distill_seed, fit_seed]
            scores = (np.random.default_rng(seed).random(items) < chance).astype(np.uint8)
            records.append(
                make_record(
                    method,
                    float(scores.mean()),
                    distill_seed=distill_seed,
                    fit_seed=fit_seed,
                    items={"score": PackedArray.pack(scores)},
                    **fields,
                )
            )
        return records

    return draw

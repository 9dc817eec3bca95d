"""From digits to a board, offline: tasks, students and evaluators of images with captions."""

from __future__ import annotations

import json
from pathlib import Path

import harness
from harness.records.record import Record

LITTLE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 8, "patch_size": 4, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 10, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}


SUITE = """
name = "digits-here"
version = 1
tasks = ["digits"]
distillers = ["random"]
students = ["clip:{path}"]
evaluators = ["zero-shot", "retrieval"]
budgets = ["10/class"]
[seeds]
distill = [0]
fit = [0]
[recipe]
steps = 40
batch_size = 64
learning_rate = [3e-3]
warmup = 0.1
"""


def test_a_board_of_random_and_full_digits(tmp_path: Path) -> None:
    path = tmp_path / "little.json"
    path.write_text(json.dumps(LITTLE))
    (tmp_path / "suite.toml").write_text(SUITE.format(path=path))
    done = harness.bench(tmp_path / "suite.toml", output=tmp_path / "run", device="cpu")
    assert not done.outcome.failures
    records = [
        Record.from_json(path.read_bytes(), where=str(path))
        for path in sorted((tmp_path / "run" / "records").glob("*.json"))
    ]
    full = [r for r in records if r.distilled.rows == 1258 and r.evaluator.name == "zero-shot"]
    small = [r for r in records if r.distilled.rows == 100 and r.evaluator.name == "zero-shot"]
    assert full[0].metrics["top1"] > 0.2
    assert full[0].student.variant == "little"
    assert full[0].student.parameters > 10_000
    assert small[0].distilled.samples[0]["image"].startswith("data:image/jpeg;base64,")
    sets = tmp_path / "run" / "artifacts" / "distilled"
    assert all(b"BM" not in path.read_bytes()[:4] for path in sets.glob("*/rows.parquet"))
    assert all(path.stat().st_size < 50_000 for path in sets.glob("*/rows.parquet"))

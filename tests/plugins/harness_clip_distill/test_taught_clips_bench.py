"""From digits to a board, offline: every method that trains a small CLIP, beside rows of data."""

from __future__ import annotations

import json
from pathlib import Path

import harness
from harness.leaderboard.board import build_board
from harness.plugins import PluginHost
from harness.upkeep.verification import verify

METHODS = [
    "teacher", "clip-contrastive", "clip-distill", "clip-kd", "clip-reinforce",
    "tinyclip", "tinyclip[inherit=none]", "tinyclip[inherit=auto]", "tinyclip[stages=2]",
    "lightclip", "lightclip[softening=0]", "lightclip[token_weight=0]", "lightclip[mlm_weight=0]",
    "clip-score",
]  # fmt: skip
FOLDED = 'tinyclip [inherit="auto"]'
ROWS = [
    "teacher", "clip-contrastive", "clip-distill", "clip-kd", "clip-reinforce",
    "tinyclip", 'tinyclip [inherit="none"]', FOLDED, "tinyclip [stages=2]",
    "lightclip", "lightclip [mlm_weight=0.0]", "lightclip [softening=0.0]",
    "lightclip [token_weight=0.0]", "clip-score",
]  # fmt: skip
SUITE = """
name = "taught"
version = 1
tasks = ["digits"]
distillers = {methods}
students = ["clip:{student}"]
evaluators = ["zero-shot"]
budgets = ["10/class"]
teacher = "clip:{teacher}"
[seeds]
distill = [0]
fit = [0]
[recipe]
steps = 6
batch_size = 32
learning_rate = [3e-3]
warmup = 0.1
[distiller]
teacher_steps = 6
teacher_batch_size = 32
"""


def configuration(width: int, layers: int) -> dict[str, object]:
    return {
        "embed_dim": width // 2,
        "vision_cfg": {
            "image_size": 8, "patch_size": 4, "width": width, "layers": layers, "head_width": 16,
        },
        "text_cfg": {
            "context_length": 10, "vocab_size": 64, "width": width, "heads": width // 16,
            "layers": layers,
        },
    }  # fmt: skip


def test_all_of_them_stand_on_one_board(tmp_path: Path) -> None:
    paths = {"student": tmp_path / "little.json", "teacher": tmp_path / "larger.json"}
    for path, size in zip(paths.values(), ((32, 1), (64, 2)), strict=True):
        path.write_text(json.dumps(configuration(*size)))
    (tmp_path / "suite.toml").write_text(SUITE.format(methods=json.dumps(METHODS), **paths))
    done = harness.bench(tmp_path / "suite.toml", output=tmp_path / "run", device="cpu")
    assert [f"{f.distiller}: {f.message}" for f in done.outcome.failures] == []
    assert not verify([done.output], PluginHost.discover([])).errors
    (table,) = build_board(done.results).tables
    sizes = {row.distiller: row.parameters or 0 for row in table.rows}
    assert set(sizes) == {*ROWS, "random", "full"}

    full, teacher, folded = (sizes[name] for name in ("full", "teacher", FOLDED))
    assert teacher > 3 * full
    # A folded model has nearly the student's size, and all others have it.
    assert abs(folded / full - 1) < 0.1
    assert {size for name, size in sizes.items() if name not in ("teacher", FOLDED)} == {full}

"""The three evaluators in a whole run: records, pictures beside them, and refused plans."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.api import BenchResult, bench
from harness.errors import UsageError
from harness.leaderboard.board import build_board
from harness.leaderboard.page.payload import payload
from harness.plugins import PluginHost
from harness.publishing.records import export_results
from harness.testing.image_text import check_image_text_evaluator
from harness.upkeep.verification import verify
from harness_zero_shot.linear_probe import LinearProbe
from harness_zero_shot.retrieval import Retrieval
from harness_zero_shot.zero_shot import ZeroShot

EVALUATORS = ["zero-shot", "retrieval", "linear-probe"]
PLUGIN = """
from dataclasses import dataclass

from harness import hookimpl
from harness.testing.toys import ToyTask
from harness.testing.image_text import ToyImageTextTask, seeing_model

@dataclass(frozen=True)
class Seeing:
    def fingerprint(self):
        return "none"

    def fit(self, task, data, recipe, context):
        return seeing_model()

    def load(self, folder, task, context):
        return seeing_model()

@hookimpl
def harness_register_tasks(register):
    register("toy-squares", ToyImageTextTask, summary="", version="1")
    register("toy-classes", ToyTask, summary="", version="1")

@hookimpl
def harness_register_students(register):
    register("seeing", Seeing, summary="", version="1")
"""
SUITE = """
version = 1
tasks = ["toy-squares"]
distillers = ["random"]
students = ["seeing"]
evaluators = ["zero-shot", "retrieval", "linear-probe"]
budgets = ["6rows"]
references = []

[seeds]
distill = [0]
fit = [0]

[recipe]
steps = 1
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., BenchResult]:
    plugin, suite = tmp_path / "squares.py", tmp_path / "squares.toml"
    plugin.write_text(PLUGIN)
    suite.write_text(SUITE)

    def run(**request: Any) -> BenchResult:
        place = {"output": tmp_path / "results", "plugins": [str(plugin)], "device": "cpu"}
        return bench(suite, fail_fast=True, **{**place, **request})

    return run


@pytest.mark.parametrize("evaluator", [ZeroShot(), Retrieval(), LinearProbe()])
def test_conforms(evaluator: object, tmp_path: Path) -> None:
    check_image_text_evaluator(evaluator, tmp_path)


def test_records_hold_together_and_zero_shot_leaves_a_picture(
    run: Callable[..., BenchResult], tmp_path: Path
) -> None:
    result = run()
    records = {record.evaluator.label: record for record in result.results.records}
    assert set(records) == set(EVALUATORS)
    assert [records[name].value for name in EVALUATORS] == [1.0, 1.0, 1.0]
    checked = verify([result.output], PluginHost.discover([]))
    assert not checked.errors
    assert checked.recomputed == 3

    key = records["zero-shot"].key
    assert set(result.results.pictures) == {key}
    (path,) = result.results.pictures[key]
    assert path == result.output / "pictures" / key / "contact-sheet.png"
    with Image.open(path) as sheet:
        assert sheet.size[0] > 400
    export_results(result.results, tmp_path / "out")
    copy = tmp_path / "out" / "pictures" / key / "contact-sheet.png"
    assert copy.read_bytes() == path.read_bytes()
    assert "`pictures/KEY/`" in (tmp_path / "out" / "README.md").read_text()
    runs = payload(build_board(result.results))["runs"]
    shown = runs["toy-squares · seeing · zero-shot"]["random @ 6rows"][0]["pictures"]
    assert [picture["name"] for picture in shown] == ["contact sheet"]
    assert shown[0]["source"].startswith("data:image/png;base64,")


def test_other_templates_are_another_protocol(run: Callable[..., BenchResult]) -> None:
    plain = run(evaluators=["zero-shot"]).results.records
    setting = "evaluator.zero-shot.templates=a {} square"
    both = run(evaluators=["zero-shot"], settings=[setting]).results.records
    assert len({record.protocol for record in (*plain, *both)}) == 2
    used = [record.evaluator.options["templates"] for record in both]
    assert ["a {} square"] in used


def test_what_cannot_be_scored_is_refused_before_anything_is_computed(
    run: Callable[..., BenchResult], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="shots = 40, but class"):
        run(settings=["evaluator.linear-probe.shots=40"])
    with pytest.raises(UsageError, match="image-text"):
        run(tasks=["toy-classes"], evaluators=["retrieval"])
    assert not (tmp_path / "results" / "artifacts" / "distilled").exists()

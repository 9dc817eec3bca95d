"""The untrained student: its initial weights and nothing else."""

from __future__ import annotations

from pathlib import Path

import torch

from harness.testing.text import toy_context
from harness.testing.toys import toy_task
from harness.types import Recipe
from harness_coreset.untrained import Untrained
from harness_text.students import Bert


def test_it_is_the_student_before_its_first_step(tmp_path: Path) -> None:
    task, student, recipe = toy_task().sealed(), Bert(variant="tiny"), Recipe(max_length=16)
    trained = Untrained().fit(task, student, recipe, toy_context(tmp_path / "base"))
    fresh = student.build(task, toy_context(tmp_path / "fresh"))
    ours, theirs = trained.model.state_dict(), fresh.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)

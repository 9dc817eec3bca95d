"""Weights and masks learned together: what a batch in parts must not change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from tiny_world import TASK, make_context, make_teacher, pairs_of

from harness.kit.clip.model import ClipModel
from harness.kit.clip.teacher import StoredTeacher
from harness_tinyclip.masks.learning import MaskObjective
from harness_tinyclip.masks.sizes import ClipSize
from harness_tinyclip.options import TinyClipOptions
from toy_clips import batch_of


def in_float64(teacher: ClipModel, pairs: StoredTeacher) -> StoredTeacher:
    """Makes the model exact enough to tell a wrong gradient from a rounded one; so the pairs."""
    teacher.model.double().requires_grad_(True)
    teacher.model.visual.conv1.register_forward_pre_hook(lambda _, given: (given[0].double(),))
    return replace(
        pairs, image=pairs.image.double(), text=pairs.text.double(), scale=pairs.scale.double()
    )


def test_a_batch_in_parts_has_the_gradients_of_the_whole_one_those_of_masks_included(
    tmp_path: Path,
) -> None:
    teacher = make_teacher(tmp_path)
    pairs = in_float64(teacher, pairs_of(teacher))
    size = ClipSize.of(teacher.model).total() // 2
    gradients = []
    for rows in (0, 4):
        model = replace(teacher, training_rows=rows)
        teacher.model.zero_grad(set_to_none=True)
        objective = MaskObjective(TinyClipOptions(), pairs, model, size, 3, make_context(tmp_path))
        objective.logits.double()
        objective.loss(model, batch_of(model, TASK, 10), 0, 3).backward()
        named = [*model.model.named_parameters(), *objective.logits.named_parameters()]
        gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})
    whole, parts = gradients
    assert whole.keys() == parts.keys()
    assert len(whole) > len(list(teacher.model.named_parameters()))
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-9, atol=1e-12)

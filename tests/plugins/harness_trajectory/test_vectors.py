"""Training on learned vectors: as on text, where the vectors are those of its tokens."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matching_world import instructions, make_context, small

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.language.causal_lm import CausalLM
from harness.registry.components import DistillerComponent
from harness.registry.contracts import check_distilled
from harness.testing.toys import toy_task
from harness.types import DistilledData, Recipe, TaskData
from harness_instruct.students.families import Llama
from harness_text.students import Bert
from harness_trajectory.vectors import TrajectoryVectors
from memory_cache import MemoryCache

COMPONENT = DistillerComponent(
    "distiller", "trajectory-vectors", TrajectoryVectors, "", "trajectory", "", "1",
    produces="arrays",
)  # fmt: skip
RECIPE = Recipe(steps=3, batch_size=4, learning_rate=1e-2, max_length=32)
TINY_BERT: dict[str, Any] = {"proxy": "bert:tiny", "parameters": "*.layer.0.*,classifier.*"}


class FixedLlama(Llama):
    """Has the same weights whatever the seed, as a model from a checkpoint has."""

    def build(self, task: TaskData, context: StageContext) -> CausalLM:
        return super().build(task, replace(context, seed=5))


class FixedBert(Bert):
    """Likewise, and trains all but the embeddings of tokens, which vectors are not part of."""

    def build(self, task: TaskData, context: StageContext, *, max_length: int = 128) -> Any:
        made = super().build(task, replace(context, seed=5), max_length=max_length)
        made.model.get_input_embeddings().weight.requires_grad_(False)
        return made


def vectors(**options: Any) -> TrajectoryVectors:
    return TrajectoryVectors(**asdict(small(**options)))


def distilled(
    folder: Path, cache: MemoryCache, task: TaskData, student: Any, **options: Any
) -> tuple[TrajectoryVectors, DistilledData, StageContext]:
    method, context = vectors(**options), make_context(folder, cache, student=student)
    budget = Budget.parse("2/class" if task.label_names else "6rows")
    data = method.distill(task, budget, context)
    check_distilled(COMPONENT, data, task, budget)
    return method, data, context


def test_unlearned_vectors_train_a_language_model_as_their_text_does(
    tmp_path: Path, cache: MemoryCache
) -> None:
    task, student = instructions(), FixedLlama(variant="tiny", tuning="lora")
    method, data, context = distilled(tmp_path, cache, task, student, outer_steps=0)
    on_vectors = method.train(task, student, data, RECIPE, context)
    on_text = student.fit(task, data, RECIPE, context)
    pairs = list(zip(task.validation["prompt"], task.validation["completion"], strict=True))
    np.testing.assert_allclose(
        on_vectors.loglikelihood(pairs).sums, on_text.loglikelihood(pairs).sums, rtol=1e-4
    )


def test_unlearned_vectors_train_a_classifier_as_their_text_does(
    tmp_path: Path, cache: MemoryCache
) -> None:
    task, student = toy_task(rows=30).sealed(), FixedBert("tiny")
    method, data, context = distilled(tmp_path, cache, task, student, outer_steps=0, **TINY_BERT)
    on_vectors = method.train(task, student, data, RECIPE, context)
    on_text = student.fit(task, data, RECIPE, context)
    np.testing.assert_allclose(
        on_vectors.predict(task.validation), on_text.predict(task.validation), atol=1e-4
    )


def test_learned_vectors_are_others_and_learned_once_for_both_methods(tmp_path: Path) -> None:
    cache = MemoryCache()
    task, student = instructions(), FixedLlama(variant="tiny")
    method, data, context = distilled(tmp_path / "vectors", cache, task, student, outer_steps=3)
    rows = small(outer_steps=3).distill(task, Budget.parse("6rows"), context)
    assert cache.computed.count("trajectory-vectors") == 1
    assert rows.rows["prompt"][:] == data.rows["prompt"][:]
    same = "matching_loss_before_projection"
    assert rows.report[same] == pytest.approx(data.report[same])
    table = student.build(task, context).model.get_input_embeddings().weight.detach()
    nearest = torch.cdist(torch.from_numpy(data.arrays["vectors"]), table).min(1).values
    assert float(nearest.min()) > 0
    trained = method.train(task, student, data, RECIPE, context)
    assert trained.model.get_input_embeddings().num_embeddings == len(table)


def test_a_student_with_other_embeddings_is_refused(tmp_path: Path, cache: MemoryCache) -> None:
    task, student = instructions(), Llama(variant="tiny")
    method, data, context = distilled(tmp_path, cache, task, student, outer_steps=0)
    with pytest.raises(UsageError, match="this student has others"):
        method.train(task, student, data, RECIPE, context)

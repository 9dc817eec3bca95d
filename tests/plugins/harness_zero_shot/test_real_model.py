"""The evaluators on an open_clip model, which embeds in batches and rounds as it pleases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clip_models import tiny_clip
from harness.kit.clip.model import ClipModel
from harness.protocols import Evaluator, ImageTextModel
from harness.testing.image_text import toy_image_text_task
from harness.testing.text import toy_context
from harness.types import TaskData
from harness_zero_shot.linear_probe import LinearProbe
from harness_zero_shot.retrieval import Retrieval
from harness_zero_shot.zero_shot import ZeroShot

EVALUATORS = [ZeroShot(), Retrieval(), LinearProbe()]


@pytest.fixture(scope="module")
def model() -> ClipModel:
    return tiny_clip(size=16)


@pytest.fixture(scope="module")
def task() -> TaskData:
    """150 rows to score, which is more than one batch."""
    return toy_image_text_task(450)


def test_is_such_a_model(model: ClipModel) -> None:
    assert isinstance(model, ImageTextModel)


def test_zero_shot_is_the_nearest_class(model: ClipModel, task: TaskData, tmp_path: Path) -> None:
    score = ZeroShot().evaluate(model, task, "test", toy_context(tmp_path))
    images = model.encode_image(task.test)
    classes = [model.encode_text(texts).mean(axis=0) for texts in task.class_texts]
    cosines = [[float(v @ c / np.linalg.norm(c)) for c in classes] for v in images]
    nearest = np.argmax(cosines, axis=1)
    assert score.items["prediction"].tolist() == nearest.tolist()
    assert score.value == np.mean(nearest == np.array(task.test["label"][:]))


@pytest.mark.parametrize("evaluator", EVALUATORS, ids=lambda e: type(e).__name__)
def test_the_order_of_the_rows_changes_no_metric(
    evaluator: Evaluator, model: ClipModel, task: TaskData, tmp_path: Path
) -> None:
    order = np.random.default_rng(0).permutation(len(task.test))
    splits = {**task.splits, "test": task.test.select(order)}
    first, again = (
        evaluator.evaluate(model, one, "test", toy_context(tmp_path)).metrics
        for one in (task, replace(task, splits=splits))
    )
    assert again == pytest.approx(first, abs=1e-9)


def test_untrained_retrieval_is_near_chance(
    model: ClipModel, task: TaskData, tmp_path: Path
) -> None:
    found = Retrieval().evaluate(model, task, "test", toy_context(tmp_path)).metrics
    assert found["recall_at_1"] < 0.1


def test_the_probe_sees_colours_that_the_untrained_tower_keeps_apart(
    model: ClipModel, task: TaskData, tmp_path: Path
) -> None:
    found = LinearProbe().evaluate(model, task, "test", toy_context(tmp_path))
    assert found.value > ZeroShot().evaluate(model, task, "test", toy_context(tmp_path)).value
    assert found.value > 0.9

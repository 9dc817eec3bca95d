"""The teacher: trained once, frozen, and its stored embeddings are those of the live one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clip_models import tiny_clip
from harness.budget import Budget
from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.clip.image_augmentation import Augmentation
from harness.kit.clip.image_rows import image_text_rows
from harness.kit.clip.model import ClipModel
from harness.kit.clip.teacher import TeacherTraining, teacher_embeddings, trained_teacher
from harness.kit.clip.training import ClipBatch, ContrastiveObjective, train_clip
from harness.kit.embedding import embed_rows
from harness.storage.arrays import StoredArrays
from harness.storage.store import Store
from harness.testing.image_text import toy_image_text_task
from harness.types import Recipe, TaskData
from harness_coreset.geometry.k_means import KMeans

TASK = toy_image_text_task(24)
TRAINING = TeacherTraining(steps=4, batch_size=8, learning_rate=1e-2)
AUGMENTATION = Augmentation(seed=5, count=3)


@dataclass(frozen=True)
class TinyTeacher:
    """A student whose model is the tests' tiny one."""

    width: int = 16
    pretrained: str = ""

    def fingerprint(self) -> str:
        return "random"

    def build(self, task: TaskData, context: StageContext) -> ClipModel:
        model = tiny_clip(seed=context.seed, width=self.width, size=12)
        model.device = torch.device(context.device)
        return model


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    store = Store(tmp_path)
    store.prepare()
    students: dict[str, Any] = {
        "t": TinyTeacher(), "wide": TinyTeacher(24), "known": TinyTeacher(16, "a-tag")
    }  # fmt: skip
    return StageContext(
        seed=1, workdir=tmp_path, cache=StoredArrays(store), student=students.__getitem__
    )


def test_a_teacher_is_trained_once_for_all_seeds_and_stages(
    context: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained_teacher("t", TASK, TRAINING, context)
    monkeypatch.setattr("harness.kit.clip.teacher.train_on_task", None)
    again = trained_teacher("t", TASK, TRAINING, replace(context, seed=2))
    for one, other in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_another_student_task_or_training_is_another_teacher(context: StageContext) -> None:
    first = trained_teacher("t", TASK, TRAINING, context)
    others = (
        trained_teacher("wide", TASK, TRAINING, context),
        trained_teacher("t", toy_image_text_task(27), TRAINING, context),
        trained_teacher("t", TASK, replace(TRAINING, seed=1), context),
        trained_teacher("t", TASK, replace(TRAINING, steps=5), context),
    )
    text = first.encode_text(["a red square"])
    for other in others:
        assert not np.array_equal(text, other.encode_text(["a red square"]))


def test_a_teacher_is_trained_by_the_plain_loss_of_its_own_recipe(context: StageContext) -> None:
    teacher = trained_teacher("t", TASK, TRAINING, context)
    untrained = TinyTeacher().build(TASK, replace(context, seed=0))
    rows = image_text_rows(TASK.train, teacher.image)
    assert not np.array_equal(
        teacher.encode_images(rows.images), untrained.encode_images(rows.images)
    )
    assert context.curves == {}


def test_a_teacher_is_frozen_and_in_eval_mode(context: StageContext) -> None:
    teacher = trained_teacher("t", TASK, TRAINING, context)
    assert not teacher.model.training
    teacher_features = teacher.text_features(teacher.tokens(["a red square"]))
    assert not teacher_features.requires_grad
    assert all(p.grad is None and not p.requires_grad for p in teacher.model.parameters())


def test_pretrained_weights_are_not_trained_again(
    context: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.kit.clip.teacher.train_on_task", None)
    assert isinstance(trained_teacher("known", TASK, TRAINING, context), ClipModel)


def test_stored_embeddings_are_those_of_the_live_teacher_on_the_batches_of_a_training(
    context: StageContext, tmp_path: Path
) -> None:
    teacher = trained_teacher("t", TASK, TRAINING, context)
    stored = teacher_embeddings("t", TASK, TRAINING, context, augmentation=AUGMENTATION)
    seen = image_text_rows(TASK.train, teacher.image)
    assert stored.image.shape == (3, 24, 8)
    checked = []

    class Comparing(ContrastiveObjective):
        def loss(self, model: ClipModel, batch: ClipBatch, step: int, steps: int) -> torch.Tensor:
            numbers = AUGMENTATION.numbers(batch.visits)
            drawn = AUGMENTATION.draw(batch.rows, numbers)
            with torch.no_grad():
                live = teacher.image_features(teacher.pixels(seen.images[batch.rows], drawn))
                texts = teacher.text_features(
                    teacher.tokens([seen.captions[r] for r in batch.rows])
                )
            np.testing.assert_allclose(stored.image[numbers, batch.rows], live.numpy(), atol=1e-5)
            np.testing.assert_allclose(stored.text[batch.rows], texts.numpy(), atol=1e-5)
            checked.extend(numbers.tolist())
            return super().loss(model, batch, step, steps)

    student = tiny_clip(seed=9, size=8)
    rows = image_text_rows(TASK.train, student.image)
    train_clip(
        student, rows, np.ones(24), Comparing(), Recipe(steps=14, batch_size=8),
        StageContext(seed=0, workdir=tmp_path), augmentation=AUGMENTATION,
    )  # fmt: skip
    assert set(checked) == {0, 1, 2}


def test_plain_embeddings_are_of_the_images_as_they_are(context: StageContext) -> None:
    teacher = trained_teacher("t", TASK, TRAINING, context)
    stored = teacher_embeddings("t", TASK, TRAINING, context)
    np.testing.assert_allclose(stored.image[0], teacher.encode_image(TASK.train), atol=1e-6)
    assert stored.scale == pytest.approx(teacher.model.logit_scale.exp().item())
    assert stored.bias is None
    assert stored.bytes == 2 * 24 * 8 * 4


def test_teacher_and_embeddings_are_charged_once_each_to_a_stage_that_finds_them(
    context: StageContext,
) -> None:
    teacher_embeddings("t", TASK, TRAINING, context)
    cache = context.cache
    assert isinstance(cache, StoredArrays)
    seconds = [
        float(meta.read_text().split('"seconds": ')[1].split("\n")[0].rstrip(","))
        for meta in sorted((cache.store.artifacts / "arrays").glob("*/meta.json"))
    ]
    finding = StoredArrays(cache.store)
    later = replace(context, cache=finding)
    trained_teacher("t", TASK, TRAINING, later)
    teacher_embeddings("t", TASK, TRAINING, later)
    assert len(seconds) == 2
    assert finding.found_seconds == pytest.approx(sum(seconds))


def test_what_cannot_be_a_teacher_is_refused(context: StageContext) -> None:
    with pytest.raises(UsageError, match="no teacher"):
        trained_teacher("", TASK, TRAINING, context)
    with pytest.raises(UsageError, match="count"):
        teacher_embeddings("t", TASK, TRAINING, context, augmentation=Augmentation(0))


def test_rows_are_embedded_by_a_proxy_as_a_teacher_embeds_them(context: StageContext) -> None:
    live = trained_teacher("known", TASK, TeacherTraining(), context)
    expected = live.encode_images(image_text_rows(TASK.train, live.image).images)
    np.testing.assert_allclose(embed_rows(TASK, "train", "known", "mean", context), expected)
    some = embed_rows(TASK, "train", "known", "cls", context, rows=[7, 3])
    np.testing.assert_allclose(some, expected[[7, 3]])
    with pytest.raises(UsageError, match="images of 'validation' are not embedded"):
        embed_rows(TASK, "validation", "known", "mean", context)


def test_coresets_choose_images(context: StageContext) -> None:
    chosen = KMeans(proxy="known").distill(TASK.sealed(), Budget.parse("2/class"), context)
    labels = np.asarray(chosen.rows["label"])
    assert np.bincount(labels).tolist() == [2, 2, 2]

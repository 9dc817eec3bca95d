"""CLIPs taught by a teacher: stored equals live, whatever tokenizers, sizes and widths differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.loss import DistillClipLoss
from torch.nn import functional

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.clip.image_rows import image_text_rows
from harness.kit.clip.model import ClipModel
from harness.kit.clip.teacher import trained_teacher
from harness.kit.clip.training import ClipBatch, encode_batch
from harness.plugins import PluginHost
from harness.registry.contracts import check_distilled
from harness.testing.image_text import toy_image_text_task
from harness.testing.text import toy_context
from harness.testing.toys import WordCounts, toy_task
from harness.types import Recipe
from harness_clip_distill.captions import DROPPED, shortened_captions
from harness_clip_distill.clip_kd import ClipKd
from harness_clip_distill.clip_score import ClipScore
from harness_clip_distill.distillers import ClipDistill, Contrastive, TeacherItself
from harness_clip_distill.open_clip_objective import OpenClipObjective
from harness_clip_distill.reinforce import ClipReinforce
from harness_clip_distill.teaching import LiveTeacher, teaching
from memory_cache import MemoryCache
from resolved import resolved
from toy_clips import ToyClip, batch_of

TASK = toy_image_text_task().sealed()
RECIPE = Recipe(steps=6, batch_size=8, learning_rate=3e-3, warmup=0.0)
TEACHERS: dict[str, Any] = {
    "teacher": ToyClip(width=24, embedding=12),
    "other": ToyClip(width=24, embedding=10, size=20, context_length=20, standard=True),
}
QUICK: dict[str, Any] = {"teacher": "teacher", "teacher_steps": 4, "teacher_batch_size": 8}
TAUGHT = [ClipDistill, ClipKd, ClipReinforce]


def context(folder: Path, cache: MemoryCache | None = None, seed: int = 0) -> StageContext:
    made = replace(toy_context(folder, seed), student=lambda name: TEACHERS[name])
    return replace(made, cache=cache or MemoryCache())


def weights(model: ClipModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.model.state_dict().items()}


def same(first: ClipModel, second: ClipModel) -> bool:
    own, other = weights(first), weights(second)
    return own.keys() == other.keys() and all(torch.equal(own[n], other[n]) for n in own)


@pytest.mark.parametrize("kind", TAUGHT)
@pytest.mark.parametrize("teacher", ["teacher", "other"])
def test_widths_sizes_and_tokenizers_may_differ(kind: Any, teacher: str, tmp_path: Path) -> None:
    options = kind(**{**QUICK, "teacher": teacher})
    model = options.fit(TASK, ToyClip(), RECIPE, context(tmp_path))
    plain = Contrastive().fit(TASK, ToyClip(), RECIPE, context(tmp_path))
    assert np.isfinite(model.encode_text(["a red square"])).all()
    assert weights(model).keys() == weights(plain).keys()
    assert not same(model, plain)
    again = options.fit(TASK, ToyClip(), RECIPE, context(tmp_path))
    assert same(model, again)


@pytest.mark.parametrize("teacher", ["teacher", "other"])
def test_the_stored_teacher_says_what_the_live_one_says(teacher: str, tmp_path: Path) -> None:
    own = context(tmp_path)
    student = ToyClip().build(TASK, own)
    batch = batch_of(student, TASK)
    stored, live = (
        teaching(ClipDistill(**{**QUICK, "teacher": teacher}, embeddings=kind), TASK, own)[0](batch)
        for kind in ("stored", "live")
    )
    for name in ("image", "text", "scale"):
        found, expected = getattr(stored, name), getattr(live, name)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [ClipDistill, ClipKd])
def test_a_student_of_stored_embeddings_is_that_of_live_ones(kind: Any, tmp_path: Path) -> None:
    models = [
        kind(**QUICK, embeddings=embeddings).fit(TASK, ToyClip(), RECIPE, context(tmp_path))
        for embeddings in ("stored", "live")
    ]
    first, second = (weights(model) for model in models)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-4)


def test_stored_augmentations_are_what_a_live_teacher_makes_of_the_same_view(
    tmp_path: Path,
) -> None:
    from harness_clip_distill.reinforcement import reinforcement

    own, options = context(tmp_path), ClipReinforce(**{**QUICK, "teacher": "other"})
    augmentation, training = options._augmentation(), options.teacher_training()
    assert augmentation is not None
    stored = reinforcement("other", TASK, training, augmentation, 3, 0.0, own)
    assert stored.images.shape == (4, len(TASK.train), 10)
    live = trained_teacher("other", TASK, training, own)
    rows, numbers = np.array([5, 0, 17, 5]), np.array([1, 3, 0, 2])
    images = image_text_rows(TASK.train, live.image).images[rows]
    seen = live.image_features(live.pixels(images, augmentation.draw(rows, numbers)))
    captions = [
        shortened_captions(TASK.train["caption"][:], number)[row]
        for row, number in zip(rows, [0, 1, 2, 1], strict=True)
    ]
    read = torch.from_numpy(live.encode_text(captions))
    found = stored.features(
        torch.from_numpy(rows), torch.from_numpy(numbers), torch.tensor([0, 1, 2, 1])
    )
    torch.testing.assert_close(found.image, seen, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.text, read, rtol=1e-5, atol=1e-6)


def test_the_teacher_is_in_eval_mode_and_gets_no_gradient(tmp_path: Path) -> None:
    own = context(tmp_path)
    live = trained_teacher("teacher", TASK, ClipDistill(**QUICK).teacher_training(), own)
    teach = LiveTeacher(live, image_text_rows(TASK.train, live.image))
    student = ToyClip().build(TASK, own)
    OpenClipObjective(teach).loss(student, batch_of(student, TASK), 0, 1).backward()
    assert live.model.training is False
    assert all(p.grad is None and not p.requires_grad for p in live.model.parameters())


def test_clip_distill_has_open_clips_loss(tmp_path: Path) -> None:
    own = context(tmp_path)
    student = ToyClip().build(TASK, own)
    batch = batch_of(student, TASK)
    teach, _ = teaching(ClipDistill(**QUICK), TASK, own)
    made, taught = encode_batch(student, batch), teach(batch)
    peer = DistillClipLoss()(
        made.image, made.text, made.scale, taught.image, taught.text, taught.scale, output_dict=True
    )
    found = OpenClipObjective(teach).loss(student, batch, 0, 1)
    torch.testing.assert_close(found, sum(peer.values()), rtol=1e-5, atol=1e-6)


def test_methods_and_seeds_share_one_teacher_and_its_embeddings(tmp_path: Path) -> None:
    cache = MemoryCache()
    for seed in range(2):
        for kind in (ClipDistill, ClipKd, TeacherItself):
            kind(**QUICK).fit(TASK, ToyClip(), RECIPE, context(tmp_path, cache, seed))
        ClipScore(**QUICK).distill(TASK, Budget.parse("8rows"), context(tmp_path, cache, seed))
    assert sorted(cache.computed) == ["clip-teacher", "clip-teacher-embeddings"]


def test_a_teacher_leaves_no_curve_in_the_record(tmp_path: Path) -> None:
    own = context(tmp_path)
    TeacherItself(**QUICK).fit(TASK, ToyClip(), RECIPE, own)
    assert not own.curves


def test_the_teacher_row_is_the_teacher(tmp_path: Path) -> None:
    own = context(tmp_path)
    model = TeacherItself(**QUICK).fit(TASK, ToyClip(), RECIPE, own)
    expected = trained_teacher("teacher", TASK, ClipDistill(**QUICK).teacher_training(), own)
    assert same(model, expected)
    model.save(tmp_path / "saved")
    again = ToyClip().load(tmp_path / "saved", TASK, own)
    assert same(again, model)


def test_the_contrastive_row_is_the_students_own_training_on_all_rows(tmp_path: Path) -> None:
    from harness.types import DistilledData

    own = context(tmp_path)
    data = DistilledData.select(TASK, range(len(TASK.train)))
    expected = ToyClip().fit(TASK, data, RECIPE, own)
    assert same(Contrastive().fit(TASK, ToyClip(), RECIPE, own), expected)


@pytest.mark.parametrize(
    "change",
    [
        {"more_teachers": ("other",)}, {"augmentations": 0}, {"captions": 1}, {"captions": 4},
        {"contrastive": 0.5}, {"teacher_scale": 50.0}, {"mirror": True},
    ],
)  # fmt: skip
def test_every_choice_of_reinforcement_is_another_method(change: dict, tmp_path: Path) -> None:
    twice = replace(RECIPE, steps=12)
    default = ClipReinforce(**QUICK).fit(TASK, ToyClip(), twice, context(tmp_path))
    found = ClipReinforce(**QUICK, **change).fit(TASK, ToyClip(), twice, context(tmp_path))
    assert all(tensor.isfinite().all() for tensor in weights(found).values())
    assert not same(found, default)


def test_reinforcement_by_nothing_but_the_rows_as_they_are_is_mimicking(tmp_path: Path) -> None:
    from harness.kit.clip.contrastive.mimicking import affinity_mimicking
    from harness_clip_distill.reinforced_objective import ReinforcedObjective
    from harness_clip_distill.reinforcement import reinforcement

    own, options = context(tmp_path), ClipDistill(**QUICK)
    student = ToyClip().build(TASK, own)
    batch = batch_of(student, TASK)
    stored = reinforcement("teacher", TASK, options.teacher_training(), None, 1, 0.0, own)
    objective = ReinforcedObjective(
        student, TASK.train["caption"][:], [stored], None, contrastive=0.0, distillation=1.0
    )
    expected = affinity_mimicking(
        encode_batch(student, batch), teaching(options, TASK, own)[0](batch)
    )
    torch.testing.assert_close(objective.loss(student, batch, 0, 1), expected)


@pytest.mark.parametrize("kind", TAUGHT)
def test_a_batch_of_one_row_has_a_loss(kind: Any, tmp_path: Path) -> None:
    from harness.kit.clip import student as clip_student

    seen: list[float] = []

    def once(model: ClipModel, task: Any, objective: Any, *_: Any, **__: Any) -> None:
        batch: ClipBatch = batch_of(model, TASK, rows=1)
        seen.append(float(objective.loss(model, batch, 0, 1).detach()))

    with pytest.MonkeyPatch.context() as patch:
        own = context(tmp_path)
        trained_teacher("teacher", TASK, ClipDistill(**QUICK).teacher_training(), own)
        patch.setattr(clip_student, "train_on_task", once)
        kind(**QUICK).fit(TASK, ToyClip(), RECIPE, own)
    assert np.isfinite(seen).all()
    assert len(seen) == 1


def test_clip_score_takes_the_rows_whose_cosines_are_largest(tmp_path: Path) -> None:
    own, options = context(tmp_path), ClipScore(**QUICK)
    data = options.distill(TASK, Budget.parse("7rows"), own)
    teacher = trained_teacher("teacher", TASK, options.teacher_training(), own)
    scores = [
        float(functional.cosine_similarity(torch.from_numpy(a), torch.from_numpy(b), dim=0))
        for a, b in zip(
            teacher.encode_image(TASK.train),
            teacher.encode_text(TASK.train["caption"][:]),
            strict=True,
        )
    ]
    assert data.indices is not None
    assert [scores[i] for i in data.indices] == pytest.approx(sorted(scores)[::-1][:7], abs=1e-6)
    assert data.report["chosen_score_mean"] > data.report["score_mean"]


@pytest.mark.parametrize("budget", ["2/class", "10rows", "25%"])
def test_clip_score_keeps_the_hosts_contract(budget: str, tmp_path: Path) -> None:
    component = PluginHost.discover([]).registry.find("distiller", "clip-score")
    asked = Budget.parse(budget)
    data = ClipScore(**QUICK).distill(TASK, asked, context(tmp_path))
    check_distilled(component, data, TASK, asked)


@pytest.mark.parametrize("kind", [*TAUGHT, TeacherItself])
def test_a_missing_teacher_is_one_clear_error(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no teacher"):
        kind().fit(TASK, ToyClip(), RECIPE, context(tmp_path))


def test_a_teacher_that_is_no_clip_is_one_clear_error(tmp_path: Path) -> None:
    own = replace(context(tmp_path), student=lambda name: WordCounts())
    with pytest.raises(UsageError, match="builds none"):
        ClipKd(**QUICK).fit(TASK, ToyClip(), RECIPE, own)


@pytest.mark.parametrize("kind", [*TAUGHT, Contrastive])
def test_a_task_without_images_is_refused(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="images with captions"):
        kind().fit(toy_task().sealed(), ToyClip(), RECIPE, context(tmp_path))


@pytest.mark.parametrize(
    "wrong",
    [
        {"augmentations": -1}, {"captions": 0}, {"distillation": 0.0}, {"teacher_scale": -1.0},
        {"teacher_steps": 0}, {"teacher_batch_size": 1}, {"teacher_learning_rate": 0.0},
        {"smallest_crop": 0.0}, {"smallest_crop": 1.1}, {"colour": 1.0},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError):
        resolved(ClipReinforce, **wrong)


def test_shortened_captions_keep_order_and_a_word_and_depend_on_row_and_number_alone() -> None:
    captions = [" ".join(f"w{n}" for n in range(40))] * 300
    assert shortened_captions(captions, 0) == captions
    made = [text.split() for text in shortened_captions(captions, 1)]
    assert all(words == sorted(words, key=lambda word: int(word[1:])) for words in made)
    assert sum(map(len, made)) / (300 * 40) == pytest.approx(1 - DROPPED, abs=0.02)
    assert len({" ".join(words) for words in made}) > 290
    assert shortened_captions(captions[:7], 1) == [" ".join(words) for words in made[:7]]
    assert shortened_captions(captions, 2)[0] != " ".join(made[0])
    assert set(shortened_captions(["lonely", ""] * 50, 1)) == {"lonely", ""}

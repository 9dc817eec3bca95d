"""The distiller as the host calls it: from a task, a student and a recipe to a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_world import RECIPE, STUDENT, TASK, TEACHER, Squares, make_context

from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.clip.model import ClipModel
from harness.plugins import PluginHost
from harness.protocols import ImageTextModel
from harness.registry.components import resolve
from harness.testing.toys import toy_task
from harness_tinyclip.tiny_clip import TinyClip


class KeptArrays:
    """A cache of one run, which counts what was computed."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.computed: list[str] = []

    def arrays(self, name: str, inputs: Any, compute: Any) -> Any:
        key = f"{name} {inputs}"
        if key not in self.kept:
            self.computed.append(name)
            self.kept[key] = compute()
        return self.kept[key]


STUDENTS = {"large": TEACHER, "small": STUDENT, "deep": Squares(width=16, layers=6)}


def context_for(folder: Path, cache: KeptArrays | None = None, seed: int = 7) -> StageContext:
    context = make_context(folder, seed)
    return replace(context, student=STUDENTS.__getitem__, cache=cache or KeptArrays())


def tiny_clip(**options: Any) -> TinyClip:
    return TinyClip(teacher="large", teacher_steps=4, teacher_batch_size=12, **options)


def state(model: Any) -> dict[str, torch.Tensor]:
    return dict(model.model.state_dict())


@pytest.mark.parametrize("inherit", ["none", "manual", "auto"])
def test_it_gives_a_trained_model_that_is_saved_and_loaded(inherit: str, tmp_path: Path) -> None:
    context = context_for(tmp_path / "work")
    fitted = tiny_clip(inherit=inherit).fit(TASK.sealed(), STUDENT, RECIPE, context)
    assert isinstance(fitted, ImageTextModel)
    fitted.save(tmp_path / "saved")
    loaded = STUDENT.load(tmp_path / "saved", TASK, context)
    assert np.array_equal(loaded.encode_image(TASK.test), fitted.encode_image(TASK.test))
    assert loaded.info == fitted.info
    assert fitted.info.parameters == sum(p.numel() for p in fitted.model.parameters())
    curves = {"loss", "student scale", "teacher scale"}
    expected = curves | ({"expected sparsity"} if inherit == "auto" else set())
    assert set(context.curves) == expected
    assert context.curves["loss"].steps[-1] == RECIPE.steps


def test_a_seed_gives_the_same_model_and_another_seed_another(tmp_path: Path) -> None:
    options: dict[str, Any] = {"inherit": "auto"}
    made = [
        state(
            tiny_clip(**options).fit(TASK, STUDENT, RECIPE, context_for(tmp_path / str(n), seed=s))
        )
        for n, s in enumerate((7, 7, 8))
    ]
    assert all(torch.equal(made[0][name], value) for name, value in made[1].items())
    assert any(
        name not in made[0] or not torch.equal(made[0][name], v) for name, v in made[2].items()
    )


def test_variants_share_one_teacher_and_its_embeddings(tmp_path: Path) -> None:
    cache = KeptArrays()
    for n, inherit in enumerate(("none", "manual", "auto")):
        context = context_for(tmp_path / str(n), cache)
        tiny_clip(inherit=inherit).fit(TASK, STUDENT, RECIPE, context)
    assert cache.computed == ["clip-teacher", "clip-teacher-embeddings"]


def test_a_student_may_see_images_of_another_size(tmp_path: Path) -> None:
    class Coarse(Squares):
        def build(self, task: Any, context: StageContext) -> ClipModel:
            from clip_models import tiny_clip as clip

            return clip(seed=context.seed_for("weights"), size=8)

    context = context_for(tmp_path)
    fitted = tiny_clip(inherit="manual").fit(TASK, Coarse(), RECIPE, context)
    assert fitted.image.size == (8, 8)
    folded = tiny_clip(inherit="auto").fit(TASK, Coarse(), RECIPE, context_for(tmp_path / "auto"))
    assert folded.image.size == (16, 16)


class TestBadInput:
    def test_a_task_without_images_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="tinyclip is for images with captions"):
            tiny_clip().fit(toy_task(), STUDENT, RECIPE, context_for(tmp_path))

    def test_a_teacher_must_be_named(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no teacher"):
            TinyClip().fit(TASK, STUDENT, RECIPE, context_for(tmp_path))

    def test_a_student_deeper_than_its_teacher_cannot_inherit(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="layers of the image tower of 6"):
            tiny_clip().fit(TASK, STUDENTS["deep"], RECIPE, context_for(tmp_path))

    def test_one_deeper_than_its_teacher_can_still_mimic(self, tmp_path: Path) -> None:
        fitted = tiny_clip(inherit="none").fit(
            TASK, STUDENTS["deep"], RECIPE, context_for(tmp_path)
        )
        assert len(fitted.model.visual.transformer.resblocks) == 6


def test_it_is_on_offer_with_its_options() -> None:
    component = PluginHost.discover().registry.find("distiller", "tinyclip")
    assert getattr(component, "produces", "") == "model"
    options = {"inherit": "auto", "masks": "hidden,heads", "shares": "1,2", "stages": "2"}
    choice = resolve(component, "", options)
    assert choice.instance.masks == ("hidden", "heads")
    assert choice.instance.shares == (1.0, 2.0)
    with pytest.raises(UsageError, match=r"tinyclip\.inherit"):
        resolve(component, "", {"inherit": "some"})

"""Progressive training in stages, from the teacher's size to the student's."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.clip.image_rows import ImageTextRows
from harness.kit.clip.model import ClipModel, build_clip
from harness.kit.clip.shape import shape_of, sized_config
from harness.kit.clip.student import train_on_task
from harness.kit.clip.teacher import StoredTeacher
from harness.randomness import seeded
from harness.types import Recipe, TaskData
from harness_tinyclip.inheritance.inheritance import inherit_weights, leading
from harness_tinyclip.inheritance.shapes import shape_between, sizes_between
from harness_tinyclip.inheritance.vocabulary import shared_words
from harness_tinyclip.masks.learning import MaskObjective, folded_model
from harness_tinyclip.masks.sizes import ClipSize
from harness_tinyclip.mimicking import MimickingObjective
from harness_tinyclip.options import TinyClipOptions
from harness_tinyclip.phases import Curves, Phase, kept_phase


@dataclass
class ProgressiveTraining:
    """One training of `recipe.steps` steps, divided into stages and phases.

    student: untrained, of the size to be reached; teacher: trained; pairs: its embeddings of
    the rows; rows: the train split, as the model that is trained takes it.
    """

    options: TinyClipOptions
    student: ClipModel
    teacher: ClipModel
    pairs: StoredTeacher
    rows: ImageTextRows
    task: TaskData
    recipe: Recipe
    context: StageContext
    curves: list[Curves] = field(default_factory=list)

    def run(self) -> ClipModel:
        """The model after the last stage.

        Raises:
            UsageError: the recipe has too few steps, or the student cannot inherit.
        """
        least = 2 if self.options.inherit == "auto" else 1
        steps = self.options.stage_steps(self.recipe.steps)
        if min(steps) < least:
            raise UsageError(
                f"tinyclip: {self.recipe.steps} steps cannot be divided into {len(steps)} stages"
                f" of {least} or more",
                hint="Raise the recipe's steps, or set fewer stages.",
            )
        if self.options.inherit == "auto":
            return self._automatic(steps)
        return self._manual(steps)

    def _manual(self, steps: list[int]) -> ClipModel:
        """Stages that each inherit from the one before; the first, from the teacher."""
        source, last = self.teacher, len(steps) - 1
        if self.options.inherit == "manual":
            # What the last stage cannot inherit is refused before the first is trained.
            leading(shape_of(self.student.model), shape_of(source.model), self.options.depth)
        for stage, count in enumerate(steps):
            target = self.student if stage == last else self._smaller(stage, len(steps))
            if self.options.inherit == "manual":
                words = shared_words(target.tokenizer, source.tokenizer)
                inherit_weights(target.model, source.model, self.options.depth, words)
            source = self._phase(f"{stage}", target, replace(self.recipe, steps=count), stage, last)
        return source

    def _smaller(self, stage: int, stages: int) -> ClipModel:
        """An untrained model between the teacher and the student."""
        large, small = shape_of(self.teacher.model), shape_of(self.student.model)
        shape = shape_between(large, small, (stage + 1) / stages, self.options.depth)
        config = sized_config(self.student.config, shape)
        with seeded(self.context.seed_for("tinyclip weights", stage)):
            model = build_clip(config)
        return replace(self.student, model=model, config=config)

    def _automatic(self, steps: list[int]) -> ClipModel:
        """Stages that each fold the model of the one before; the first, the teacher."""
        last = len(steps) - 1
        whole = ClipSize.of(self.teacher.model)
        sizes = sizes_between(whole.total(), self.student.info.parameters, len(steps))
        model = replace(
            self.teacher, model=deepcopy(self.teacher.model).requires_grad_(True),
            info=self.student.info, training_rows=self.student.training_rows,
        )  # fmt: skip
        for stage, (count, size) in enumerate(zip(steps, sizes, strict=True)):
            before = min(count - 1, max(1, round(self.options.mask_share * count)))
            rising = replace(self.recipe, steps=before, warmup=1.0, checkpoint="last")
            learn = partial(self._folded, model, size, rising, stage)
            folded = kept_phase(self._path(f"{stage}-fold"), model, learn)
            self.curves.append(folded.curves)
            falling = replace(self.recipe, steps=count - before, warmup=0.0)
            model = self._phase(f"{stage}", folded.model, falling, stage, last)
        return replace(model, info=replace(model.info, source=self._origin(model, whole)))

    def _folded(self, model: ClipModel, size: int, recipe: Recipe, stage: int) -> Phase:
        context = self._context("fold", stage)
        objective = MaskObjective(self.options, self.pairs, model, size, recipe.steps, context)
        train_on_task(model, self.task, objective, recipe, context, rows=self.rows)
        return Phase(folded_model(model, objective, size), objective.curves())

    def _phase(
        self, name: str, model: ClipModel, recipe: Recipe, stage: int, last: int
    ) -> ClipModel:
        """Mimics the teacher; all phases but the last are kept."""
        if stage == last:
            phase = self._trained(model, recipe, stage)
        else:
            recipe = replace(recipe, checkpoint="last")
            phase = kept_phase(
                self._path(name), model, partial(self._trained, model, recipe, stage)
            )
        self.curves.append(phase.curves)
        return phase.model

    def _trained(self, model: ClipModel, recipe: Recipe, stage: int) -> Phase:
        objective = MimickingObjective(self.options, self.pairs, model)
        context = self._context("mimic", stage)
        train_on_task(model, self.task, objective, recipe, context, rows=self.rows)
        return Phase(model, objective.curves())

    def _context(self, phase: str, stage: int) -> StageContext:
        """Of a phase: batches of its own, but those of every other method in a single phase."""
        if self.options.inherit != "auto" and self.options.stages == 1:
            return self.context
        return replace(self.context, seed=self.context.seed_for("tinyclip", phase, stage))

    def _path(self, name: str) -> Path:
        rate = f"{self.recipe.learning_rate:.6g}"
        return self.context.workdir / f"tinyclip-{rate}-{name}.safetensors"

    def _origin(self, model: ClipModel, whole: ClipSize) -> str:
        """What the board says of a folded model: two ratios, since names count prunable weights."""
        left = ClipSize.of(model.model)
        every, prunable = (left.total(c) / whole.total(c) for c in ("all", "prunable"))
        return (
            f"{self.options.teacher} folded to {every:.1%} of its parameters,"
            f" {prunable:.1%} of those in attention and feed-forward parts"
        )

"""The options of TinyCLIP, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Lt

from harness.errors import UsageError
from harness.kit.clip.teacher_options import TeacherOptions
from harness.options import Count, FinitePositive, NonNegative, Positive, Share
from harness_tinyclip.kinds import MASK_KINDS, Depth, Inheritance, MaskKind

LARGEST_SCALE = 100.0


@dataclass(frozen=True)
class TinyClipOptions(TeacherOptions):
    """How the student starts, in how many stages, and what it mimics; the teacher as for others.

    inherit: `none` starts from the student's own weights; `manual` from the leading part of the
    teacher's; `auto` learns which part of the teacher to keep, until it has as many parameters as
    the student.
    depth: the layers of a student with fewer: at a whole interval from the first one on, or
    spread over all.
    stages: models on the way from the teacher's size to the student's, this one included, their
    sizes in equal ratios; shares: of the recipe's steps that each stage takes, equal when empty.
    alpha: of the soft loss, the rest being CLIP's own; weight: of both.
    teacher_scale, student_scale: what cosines are multiplied by; 0 takes the teacher's own, and
    learns the student's.
    masks: the kinds that `auto` learns; mask_share: of a stage's steps before the fold;
    mask_learning_rate: of masks and of the size's weights, 0 for 0.02 * 3000 / steps before the
    fold, at most 1, so that masks can go as far as in the published run; sparsity_warmup: share of
    these steps in which the size asked for falls to its target.
    """

    inherit: Inheritance = "manual"
    depth: Depth = "interval_front"
    stages: Count = 1
    shares: tuple[Positive, ...] = ()
    alpha: Share = 1.0
    weight: FinitePositive = 1.0
    teacher_scale: float = 0.0
    student_scale: float = 0.0
    masks: tuple[MaskKind, ...] = MASK_KINDS
    mask_share: Annotated[float, Gt(0), Lt(1)] = 0.3
    mask_learning_rate: Annotated[NonNegative, Lt(math.inf)] = 0.0
    sparsity_warmup: Share = 1 / 3

    def __post_init__(self) -> None:
        if self.inherit == "none" and self.stages > 1:
            raise UsageError(f"tinyclip: stages = {self.stages} should be 1 without inheritance")
        if self.shares and len(self.shares) != self.stages:
            raise UsageError(
                f"tinyclip: shares = {list(self.shares)} should be {self.stages} numbers,"
                " one for each stage"
            )
        for name in ("teacher_scale", "student_scale"):
            value = getattr(self, name)
            if value and not 1 <= value <= LARGEST_SCALE:
                raise UsageError(
                    f"tinyclip: {name} = {value:g} should be 0 or from 1 to {LARGEST_SCALE:g}"
                )
        if self.inherit == "auto" and not self.masks:
            raise UsageError(
                "tinyclip: inherit = auto without any kind of masks has nothing to learn",
                hint=f"Kinds: {', '.join(MASK_KINDS)}.",
            )

    def stage_steps(self, steps: int) -> list[int]:
        """The recipe's steps, divided among the stages; the last stage ends with the last step."""
        shares = self.shares or (1.0,) * self.stages
        ends = [round(steps * sum(shares[: n + 1]) / sum(shares)) for n in range(self.stages)]
        return [end - start for start, end in zip([0, *ends], ends, strict=False)]

"""The options of learning vectors and labels through a few training steps."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from harness.errors import UsageError
from harness.types import TaskData


@dataclass(frozen=True)
class TddOptions:
    """What `tdd` and `tdd-tokens` share; where all of it agrees, learning is done once for both.

    proxy: the student that is trained; the suite's when empty.
    parameters: what the inner loop trains, names as in a shell; the head must be among them, the
    input embeddings never are. Empty takes the top third of the layers and all above: through all
    layers (`*`) a step costs more, and gradients are rougher.
    heads: how many different heads the proxy's checkpoint is given, in turns; 0 for a new one in
    every outer step, which costs reading the checkpoint.
    inner_steps, inner_batch: training steps on learned rows, and rows in each; 0 takes all.
    inner_optimizer: `sgd`, or `adam` from moments of zero, whose first steps are signs: the
    gradient through them is rough.
    step_size, step_learning_rate: the inner loop's step at first, and Adam's rate for the logarithm
    of it.
    real_batch: real rows whose loss after the inner loop is lowered in an outer step.
    outer_steps, learning_rate: Adam's, of the vectors, in typical coordinates of the vocabulary.
    soft_labels, smoothing, label_learning_rate: learn the labels' logits, which start at the rows'
    own classes with that much of the probability spread over all classes. Without, labels stay
    hard.
    decay: let the rates of vectors and labels fall to zero as a line.
    initial: real rows drawn at random or by k-means on the proxy's embeddings, or random tokens in
    the places of such rows'.
    max_length: tokens kept of a row.
    held_out, held_out_heads: real rows and heads that are never learned from; losses in the report
    are measured on these. At most a quarter of train is held out.
    metric: of nearest tokens.
    """

    modalities: ClassVar[tuple[str, ...]] = ("text-classification",)

    proxy: str = ""
    parameters: str = ""
    heads: int = 16
    inner_steps: int = 4
    inner_batch: int = 16
    inner_optimizer: Literal["sgd", "adam"] = "sgd"
    step_size: float = 0.2
    step_learning_rate: float = 0.1
    real_batch: int = 64
    outer_steps: int = 100
    learning_rate: float = 0.3
    soft_labels: bool = True
    smoothing: float = 0.1
    label_learning_rate: float = 0.05
    decay: bool = True
    initial: Literal["random", "k-means", "tokens"] = "random"
    max_length: int = 64
    held_out: int = 400
    held_out_heads: int = 2
    metric: Literal["l2", "cosine"] = "l2"

    def __post_init__(self) -> None:
        self._at_least(1, "inner_steps", "real_batch", "max_length", "held_out", "held_out_heads")
        self._at_least(0, "heads", "inner_batch", "outer_steps", "learning_rate")
        self._at_least(0, "step_learning_rate", "label_learning_rate")
        if not self.step_size > 0:
            raise UsageError(f"tdd: step_size = {self.step_size} should be positive")
        if not 0 < self.smoothing < 1:
            raise UsageError(
                f"tdd: smoothing = {self.smoothing} should lie between 0 and 1: logits of labels"
                " without any doubt are infinite"
            )

    def learning_inputs(self) -> dict[str, Any]:
        """The options that what is learned depends on, besides the proxy."""
        after = ("held_out_heads", "metric")
        names = [field.name for field in fields(TddOptions) if field.name not in after]
        return {name: getattr(self, name) for name in names}

    def require_text(self, task: TaskData) -> None:
        """Raises UsageError for a task of another modality."""
        if task.modality not in self.modalities:
            raise UsageError(
                f"tdd learns rows for text classification, and task '{task.name}' is of"
                f" {task.modality}"
            )

    def _at_least(self, least: int, *names: str) -> None:
        for name in names:
            if not getattr(self, name) >= least:
                raise UsageError(f"tdd: {name} = {getattr(self, name)} should be {least} or more")

"""The options of learning embeddings and soft labels through an inner loop."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from harness.errors import UsageError
from harness.types import TaskData


@dataclass(frozen=True)
class TddOptions:
    """Of `tdd` and `tdd-tokens`; where all of them agree, the outer loop is run once for both.

    proxy: the student model of the inner loops; the suite's when empty.
    parameters: those that the inner loop trains, as patterns of names; the head must be among
    them, input embeddings are always frozen. Empty takes the top third of the layers and all
    above: with all layers (`*`) a step costs more, and gradients are rougher.
    heads: number of initialisations of the head; outer step i starts from number i mod n. 0 draws
    a new one in every outer step, which costs reading the checkpoint.
    inner_steps: steps of an inner loop on synthetic rows.
    inner_batch: synthetic rows in an inner step; 0 takes all.
    inner_optimizer: `sgd`, or `adam` from moments of zero, whose first steps are signs: the
    gradient through them is rough.
    step_size: initial step size of the inner loop, which is learned.
    step_learning_rate: of Adam for the logarithm of the step size.
    real_batch: real rows whose loss after the inner loop is the outer loss.
    outer_steps: steps of the outer loop.
    learning_rate: of Adam for the learned embeddings, in units of a typical coordinate of a token
    embedding.
    soft_labels: learn soft labels, too; without, labels stay hard.
    smoothing: probability that initial soft labels spread over all classes.
    label_learning_rate: of Adam for the logits of soft labels.
    decay: let the learning rates of embeddings and labels fall linearly to zero.
    initial: initialisation of the synthetic data: random real rows, those nearest to k-means
    centroids of the proxy's embeddings, or random tokens in place of those of random real rows.
    max_length: tokens kept of a row.
    held_out: real rows that are never learned from, at most a quarter of train; the report
    measures on them.
    held_out_heads: initialisations of the head that are never learned from, measured on likewise.
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

"""The options of learning embeddings and soft labels through an inner loop."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Gt, Lt

from harness.errors import UsageError
from harness.options import Count, Natural, NonNegative, Positive
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
    heads: Natural = 16
    inner_steps: Count = 4
    inner_batch: Natural = 16
    inner_optimizer: Literal["sgd", "adam"] = "sgd"
    step_size: Positive = 0.2
    step_learning_rate: NonNegative = 0.1
    real_batch: Count = 64
    outer_steps: Natural = 100
    learning_rate: NonNegative = 0.3
    soft_labels: bool = True
    smoothing: Annotated[float, Gt(0), Lt(1)] = 0.1
    label_learning_rate: NonNegative = 0.05
    decay: bool = True
    initial: Literal["random", "k-means", "tokens"] = "random"
    max_length: Count = 64
    held_out: Count = 400
    held_out_heads: Count = 2
    metric: Literal["l2", "cosine"] = "l2"

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

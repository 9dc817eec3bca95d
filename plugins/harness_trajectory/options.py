"""The options of trajectory matching for text; every default is a choice of this reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import UsageError
from harness.options import Count, Natural, NonNegative, Positive, ShareBelowOne

Initial = Literal["random", "k-means", "tokens"]


@dataclass(frozen=True)
class ExpertChoices:
    """Of the expert trajectories: training runs on the full data.

    proxy: the student model of experts and inner loops; the suite's when empty.
    experts: number of expert trajectories, all from one initialisation.
    held_out: experts whose segments are never learned from; the report measures on them.
    expert_steps: updates of an expert.
    every: updates between two states that are kept of an expert.
    expert_batch: rows in a batch.
    expert_optimizer: at a constant rate, without weight decay and dropout.
    expert_learning_rate: of the experts.
    expert_momentum: of SGD.
    parameters: those that are trained and matched: `lora`, or patterns of names, such as
    `*.layer.5.*,classifier.*`; input embeddings are always frozen. Empty takes `lora` for a
    language model and `*` for a classifier.
    lora_rank, lora_alpha, lora_targets: of the adapters.
    max_length: tokens kept of a row.
    """

    proxy: str = ""
    experts: Count = 4
    held_out: Natural = 1
    expert_steps: Count = 100
    every: Count = 10
    expert_batch: Count = 16
    expert_optimizer: Literal["sgd", "adam"] = "adam"
    expert_learning_rate: Positive = 1e-3
    expert_momentum: ShareBelowOne = 0.0
    parameters: str = ""
    lora_rank: Count = 8
    lora_alpha: Count = 16
    lora_targets: tuple[str, ...] = ()
    max_length: Count = 128

    def expert_inputs(self) -> dict[str, Any]:
        """The options that the experts depend on, besides the proxy."""
        names = (
            "experts", "expert_steps", "every", "expert_batch", "expert_optimizer",
            "expert_learning_rate", "expert_momentum", "parameters", "lora_rank", "lora_alpha",
            "lora_targets", "max_length",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class TrajectoryOptions(ExpertChoices):
    """Of trajectory matching (MTT, arXiv 2203.11932), token projection and the outer loop.

    first_start: first state of an expert that a segment may start at. At state 0 the B of adapters
    is zero, so A has no gradient, and Adam has no moments.
    max_start: segments start before this state (MTT's maximum start epoch).
    span: states from the start of a segment to its target.
    inner_steps: steps of an inner loop, which makes the student trajectory.
    inner_batch: synthetic rows in an inner step; 0 takes all.
    inner_optimizer: the expert's own, resumed with its memory (`expert`), or plain gradient
    descent.
    step_size: initial step size of the inner loop, which is learned; 0 for the experts' learning
    rate times the number of expert updates that an inner step stands for.
    step_learning_rate: of Adam for the logarithm of the step size.
    engine: of the gradient through the inner loop: exact by adjoints, exact by the unrolled graph
    (MTT), or approximate for plain gradient descent (TESLA).
    loss: matching loss between the ends of student trajectory and segment: normalised squared
    distance of all parameters, its mean over tensors, cosine distance of the displacements, or
    squared distance of the products B A of adapters.
    initial: initialisation of the synthetic data: random real rows, those nearest to k-means
    centroids of the proxy's embeddings, or random tokens in the prompts of random real rows.
    Responses and labels are always those of real rows.
    keep_template: do not learn what all prompts begin and end with.
    tokens: limit on the tokens of all rows together, responses included; 0 for none.
    outer_steps: steps of the outer loop.
    learning_rate: of Adam for the learned embeddings, in units of a typical coordinate of a token
    embedding.
    regulariser: penalty on the distance of learned embeddings to their nearest token embeddings
    (`neighbour`), or on lengths other than a token embedding's (`norm`).
    strength: largest weight of the penalty, whose unit is the mean squared length of a token
    embedding.
    schedule: of that weight over the outer steps; `linear` and `cosine` rise from 0.
    refresh: outer steps between two searches for the nearest tokens.
    metric: of nearest tokens, in the regulariser and in the projection.
    project_every: outer steps between two projections of the learned embeddings to their nearest
    token embeddings; 0 projects once, at the end.
    verify: report the relative error of the engine's first gradient against the unrolled one.
    """

    first_start: Natural = 1
    max_start: Count = 4
    span: Count = 2
    inner_steps: Count = 8
    inner_batch: Natural = 8
    inner_optimizer: Literal["expert", "sgd"] = "expert"
    step_size: NonNegative = 0.0
    step_learning_rate: NonNegative = 0.02
    engine: Literal["adjoint", "unroll", "tesla"] = "adjoint"
    loss: Literal["squared", "per-layer", "cosine", "product"] = "squared"
    initial: Initial = "random"
    keep_template: bool = False
    tokens: Natural = 0
    outer_steps: Natural = 200
    learning_rate: NonNegative = 0.05
    regulariser: Literal["neighbour", "norm", "none"] = "neighbour"
    strength: NonNegative = 0.1
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    refresh: Count = 5
    metric: Literal["l2", "cosine"] = "l2"
    project_every: Natural = 0
    verify: bool = False

    def __post_init__(self) -> None:
        if self.held_out >= self.experts:
            raise UsageError(
                f"trajectory: {self.held_out} held-out experts of {self.experts} leave none to"
                " learn from"
            )
        if self.expert_steps % self.every:
            raise UsageError(
                f"trajectory: expert_steps = {self.expert_steps} is no multiple of"
                f" every = {self.every}"
            )
        if self.first_start >= self.max_start:
            raise UsageError(
                f"trajectory: there is no start from first_start = {self.first_start} on before"
                f" max_start = {self.max_start}"
            )
        last, known = self.max_start - 1 + self.span, self.expert_steps // self.every
        if last > known:
            raise UsageError(
                f"trajectory: the last start would be matched to state {last}, and the experts"
                f" keep states 0 to {known}",
                hint="Lower max_start or span, or raise expert_steps.",
            )
        if self.engine == "tesla" and not self.descends:
            raise UsageError(
                "trajectory: engine 'tesla' is for plain gradient descent",
                hint="Set inner_optimizer to 'sgd', or engine to 'adjoint'.",
            )

    @property
    def descends(self) -> bool:
        """Whether the inner loop is gradient descent without a memory."""
        plain = self.expert_optimizer == "sgd" and not self.expert_momentum
        return self.inner_optimizer == "sgd" or plain

    @property
    def first_step_size(self) -> float:
        """Of the inner loop, before any learning."""
        stands_for = self.span * self.every / self.inner_steps
        return self.step_size or self.expert_learning_rate * stands_for

"""The options of trajectory matching for text; every default is a choice of this reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import UsageError

Initial = Literal["random", "k-means", "tokens"]


@dataclass(frozen=True)
class ExpertChoices:
    """Of the runs on the full data. The text method's paper tells none of them.

    proxy: the student that is trained; the suite's when empty.
    experts, held_out: how many runs, all from one initialisation, and how many of them are never
    learned from, only measured on.
    expert_steps, every: updates of each, and between two states that are kept.
    expert_batch, expert_optimizer, expert_learning_rate, expert_momentum: at a constant rate,
    without decay and dropout; momentum is SGD's.
    parameters: what is trained and matched: `lora`, or names as in a shell, such as
    `*.layer.5.*,classifier.*`; never the input embeddings, so that the vocabulary stays in place.
    Empty takes `lora` for a language model and `*` for a classifier.
    lora_rank, lora_alpha, lora_targets: of the adapters.
    max_length: tokens kept of a row.
    """

    proxy: str = ""
    experts: int = 4
    held_out: int = 1
    expert_steps: int = 100
    every: int = 10
    expert_batch: int = 16
    expert_optimizer: Literal["sgd", "adam"] = "adam"
    expert_learning_rate: float = 1e-3
    expert_momentum: float = 0.0
    parameters: str = ""
    lora_rank: int = 8
    lora_alpha: int = 16
    lora_targets: tuple[str, ...] = ()
    max_length: int = 128

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
    """Of matching, projection and the outer loop. Known from images: MTT (arXiv 2203.11932).

    first_start, max_start, span: a student starts at a state in [first_start, max_start) of an
    expert, and should reach the state `span` later. At state 0 of adapters B is zero, so nothing
    reaches A, and Adam has no moments.
    inner_steps, inner_batch: of the student, on learned rows; 0 takes all rows in every step.
    inner_optimizer: the expert's own with its memory (`expert`), or plain gradient descent.
    step_size: the inner loop's at first; 0 for the experts' rate times how many of their steps an
    inner one stands for. step_learning_rate: Adam's, of the logarithm of the step size.
    engine: how the gradient is computed; `tesla` is approximate and for plain descent only.
    loss: squared, per-layer, cosine, or product, which is for LoRA.
    initial: rows of the pool drawn at random or by k-means on the proxy's embeddings, or those
    with random tokens for prompts. Responses and labels are always those of real rows.
    keep_template: what all prompts of the pool begin and end with stays as it is.
    tokens: most tokens of all rows together, responses included; 0 for no limit.
    outer_steps, learning_rate: Adam's, of the vectors, in typical coordinates of the vocabulary.
    regulariser, strength, schedule: what keeps vectors near words (`neighbour`) or as long as
    words (`norm`), relative to the mean squared length of a word's vector, and how it rises.
    refresh: outer steps between two looks for the nearest words.
    metric: of nearest words, in the regulariser and at the end.
    project_every: outer steps between two replacements of all vectors by their nearest words while
    learning; 0 for none but the last.
    verify: compare the engine's first gradient with the unrolled one.
    """

    first_start: int = 1
    max_start: int = 4
    span: int = 2
    inner_steps: int = 8
    inner_batch: int = 8
    inner_optimizer: Literal["expert", "sgd"] = "expert"
    step_size: float = 0.0
    step_learning_rate: float = 0.02
    engine: Literal["adjoint", "unroll", "tesla"] = "adjoint"
    loss: Literal["squared", "per-layer", "cosine", "product"] = "squared"
    initial: Initial = "random"
    keep_template: bool = False
    tokens: int = 0
    outer_steps: int = 200
    learning_rate: float = 0.05
    regulariser: Literal["neighbour", "norm", "none"] = "neighbour"
    strength: float = 0.1
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    refresh: int = 5
    metric: Literal["l2", "cosine"] = "l2"
    project_every: int = 0
    verify: bool = False

    def __post_init__(self) -> None:
        self._at_least(1, "experts", "expert_steps", "every", "expert_batch", "max_length")
        self._at_least(1, "span", "max_start", "inner_steps", "refresh", "lora_rank", "lora_alpha")
        self._at_least(0, "held_out", "first_start", "inner_batch", "tokens")
        self._at_least(0, "outer_steps", "project_every", "strength", "step_size")
        self._at_least(0, "learning_rate", "step_learning_rate")
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

    def _at_least(self, least: int, *names: str) -> None:
        for name in names:
            if not getattr(self, name) >= least:
                raise UsageError(
                    f"trajectory: {name} = {getattr(self, name)} should be {least} or more"
                )

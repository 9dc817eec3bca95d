"""What an expert trains: a model, its trained parameters, and its gradient on given rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor, nn

from harness.errors import UsageError
from harness.kit.language.causal_lm import CausalLM
from harness.kit.language.forward import CausalForward
from harness.kit.language.labelled_rows import LabelledRows
from harness.kit.language.training import accumulate_completion_gradient, require_labels
from harness.kit.text.classifier import TextClassifier
from harness.kit.text.classifier_training import accumulate_gradient
from harness.kit.text.forward import forward_pass
from harness.kit.training.batching import EncodedRows
from harness.kit.training.loop import Accumulate
from harness.kit.training.parameter_layout import ParameterLayout


@dataclass(frozen=True)
class ExpertModel:
    """A model that learns from `rows` rows, known by their numbers 0 to rows - 1.

    accumulate: adds the gradient of the mean loss of some rows to `.grad`; returns that loss.
    """

    module: nn.Module
    layout: ParameterLayout
    accumulate: Accumulate
    rows: int

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise UsageError("an expert needs rows to learn from")
        kinds = {p.dtype for p in self.layout.parameters(self.module).values()}
        if kinds != {torch.float32}:
            raise UsageError(
                f"experts train float32 parameters, got {', '.join(sorted(map(str, kinds)))}"
            )

    @property
    def device(self) -> torch.device:
        """Where the trained parameters are."""
        return next(iter(self._parameters().values())).device

    @property
    def weights(self) -> Tensor:
        """[P] float32, a copy of the trained parameters on the CPU."""
        return self.layout.flatten(self._parameters()).detach().cpu().clone()

    def put(self, weights: Tensor) -> None:
        """Copies [P] weights into the model."""
        split = self.layout.split(weights.detach())
        with torch.no_grad():
            for name, parameter in self._parameters().items():
                parameter.copy_(split[name])

    def gradient(self, rows: np.ndarray) -> tuple[Tensor, float]:
        """[P] gradient of the mean loss of some rows, and that loss; a parameter unused gives 0."""
        parameters = self._parameters()
        for parameter in parameters.values():
            parameter.grad = None
        loss = float(self.accumulate(rows))
        found = {
            n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in parameters.items()
        }
        return self.layout.flatten(found), loss

    @contextmanager
    def only_layout_trains(self) -> Iterator[None]:
        """Inside the block dropout is off and no other parameter asks for a gradient."""
        chosen = {id(p) for p in self._parameters().values()}
        others = [p for p in self.module.parameters() if p.requires_grad and id(p) not in chosen]
        was_training = self.module.training
        self.module.eval()
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)
            for parameter in self._parameters().values():
                parameter.grad = None
            self.module.train(was_training)

    def _parameters(self) -> dict[str, nn.Parameter]:
        return self.layout.parameters(self.module)


def train_only(model: nn.Module, pattern: str = "*") -> ParameterLayout:
    """Freezes every parameter whose name does not match; gives the layout of the others.

    pattern: of names as in a shell, `*.layer.1.*`; several are separated by commas.

    Raises:
        UsageError: no name matches.
    """
    patterns = [part.strip() for part in pattern.split(",")]
    names = [name for name, _ in model.named_parameters()]
    matching = {n for n in names if any(fnmatchcase(n, part) for part in patterns)}
    if not matching:
        raise UsageError(
            f"no parameter's name matches '{pattern}'",
            hint=f"Names look like {', '.join(names[:2])}.",
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in matching)
    return ParameterLayout.of(model)


def completion_expert(lm: CausalLM, layout: ParameterLayout, rows: LabelledRows) -> ExpertModel:
    """Learns completions: the mean over rows of each row's mean cross-entropy over its tokens.

    Raises:
        UsageError: a row has no labelled token.
    """
    require_labels(rows)
    forward = CausalForward(lm.model, rows.rows, lm.pad_id, lm.device)
    shares = torch.ones(len(rows), device=lm.device)

    def accumulate(batch: np.ndarray) -> Tensor:
        return accumulate_completion_gradient(forward, rows, batch, shares)

    return ExpertModel(lm.model, layout, accumulate, len(rows))


@contextmanager
def classification_expert(
    classifier: TextClassifier, layout: ParameterLayout, rows: EncodedRows, targets: np.ndarray
) -> Iterator[ExpertModel]:
    """Learns classes: the mean cross-entropy with [n, classes] target probabilities.

    Valid inside the block, because attention may be another inside it.
    """
    goals = torch.from_numpy(targets).to(classifier.device, torch.float32)
    shares = torch.ones(len(rows), device=classifier.device)
    with forward_pass(classifier.model, rows, classifier.pad_id, classifier.device) as forward:

        def accumulate(batch: np.ndarray) -> Tensor:
            return accumulate_gradient(forward, batch, goals, shares)

        yield ExpertModel(classifier.model, layout, accumulate, len(rows))

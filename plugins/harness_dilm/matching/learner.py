"""The learner whose gradients are matched: reset, trained on real rows, never with dropout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.context import StageContext
from harness.kit.text.classifier import TextClassifier
from harness.kit.text.classifier_training import accumulate_gradient
from harness.kit.text.forward import Forward, forward_pass
from harness.kit.training.batching import EncodedRows, sample_batches
from harness.randomness import seeded
from harness.types import Recipe
from harness_dilm.optimiser import Optimiser
from harness_dilm.options import MatchingOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HEAD_STD = 0.02
LEARNER_VERSION = 2
"""Raised when the same options come to train the learner otherwise."""


class RowTable:
    """Encoded rows of which the head's inputs are wanted, batch after batch."""

    def __init__(self, rows: EncodedRows) -> None:
        self.rows = rows
        self._known = np.zeros(len(rows), dtype=bool)
        self._kept = torch.empty(0)

    def lookup(self, indices: np.ndarray, compute: Callable[[EncodedRows], Tensor]) -> Tensor:
        """[len(indices), d], computed at first use: for an encoder that no longer changes."""
        missing = np.unique(indices[~self._known[indices]])
        if len(missing):
            computed = compute(self.rows.take(missing))
            if not self._known.any():
                self._kept = computed.new_empty(len(self.rows), computed.shape[1])
            self._kept[torch.from_numpy(missing).to(computed.device)] = computed
            self._known[missing] = True
        return self._kept[torch.from_numpy(indices).to(self._kept.device)]

    def arrays(self) -> dict[str, np.ndarray]:
        """The head's inputs that are known, for a file; nothing while there are none.

        Their last bits depend on which rows were computed together, so they are kept.
        """
        known = np.flatnonzero(self._known)
        if not len(known):
            return {}
        kept = self._kept[torch.from_numpy(known).to(self._kept.device)]
        return {"rows": known, "inputs": kept.cpu().numpy()}

    def restore(self, arrays: Mapping[str, np.ndarray], device: torch.device) -> None:
        """Knows what `arrays` gave."""
        if arrays:
            inputs = torch.tensor(arrays["inputs"], device=device)
            self._kept = inputs.new_empty(len(self.rows), inputs.shape[1])
            self._kept[torch.tensor(arrays["rows"], device=device)] = inputs
            self._known[arrays["rows"]] = True


class Learner:
    """A classifier between its initial state and up to `inner_steps - 1` rounds of updates.

    The model is in evaluation mode throughout, as published, so its gradients are exact.
    """

    def __init__(
        self, classifier: TextClassifier, options: MatchingOptions, context: StageContext
    ) -> None:
        self.classifier = classifier
        self.frozen = options.learner_updates == "head"
        self._options = options
        self._context = context
        self._pretrained = _copied_state(classifier.model)
        self._initial = self._pretrained
        if options.learner == "random":
            self._initial = _random_state(classifier.model, context.seed_for("learner-encoder"))
        self.recipe = Recipe(
            steps=max(1, options.inner_steps * options.learner_steps_between),
            batch_size=options.learner_batch_size,
            learning_rate=options.learner_learning_rate,
            warmup=options.learner_warmup,
            weight_decay=options.weight_decay,
            clip_norm=options.clip_norm,
            dtype=options.dtype,
        )
        classifier.model.requires_grad_(not self.frozen)
        classifier.head.requires_grad_(True)
        classifier.model.eval()

    def reset(self, trajectory: int) -> None:
        """The initial encoder, a new head N(0, 0.02) with bias 0, and a new optimiser.

        The head is every module outside the family's base model, drawn by the trajectory's number.
        What stands before the last layer (RoBERTa's dense one, XLNet's summary) is drawn once
        where it is frozen too, since a `RowTable` keeps what comes out of it.
        """
        model, head = self.classifier.model, self.classifier.head
        model.load_state_dict(self._initial)
        rng = self._context.torch_generator("learner-head", trajectory)
        once = self._context.torch_generator("learner-summary") if self.frozen else rng
        inside = set(model.base_model.modules())
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.Linear) and module not in inside:
                    source = rng if module is head else once
                    drawn = torch.randn(module.weight.shape, generator=source) * HEAD_STD
                    module.weight.copy_(drawn)
                    if module.bias is not None:
                        module.bias.zero_()
        self._optimiser = Optimiser(self._trained, self.recipe, "the learner")

    def train(self, table: RowTable, labels: np.ndarray, trajectory: int, round_: int) -> None:
        """`learner_steps_between` updates on batches of real rows."""
        batches = self.batches(len(labels), trajectory, round_)
        targets = torch.from_numpy(labels).to(self.classifier.device)
        if self.frozen:
            for batch in batches:
                logits = self.classifier.head(self.head_inputs(table, batch))
                F.cross_entropy(logits, targets[torch.from_numpy(batch)]).backward()
                self._optimiser.step()
            return
        goals = F.one_hot(targets, self.classifier.head.out_features)
        goals = goals.to(self.classifier.head.weight.dtype)
        shares = torch.ones_like(goals[:, 0])
        with self._forward(table.rows) as forward:
            for batch in batches:
                accumulate_gradient(forward, batch, goals, shares, self.recipe.dtype)
                self._optimiser.step()

    def batches(self, rows: int, trajectory: int, round_: int) -> Iterator[np.ndarray]:
        """Which of so many real rows the updates of one round see."""
        return sample_batches(
            rows,
            self.recipe.batch_size,
            self._options.learner_steps_between,
            self._context.numpy_generator("learner-batches", trajectory, round_),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """What its updates have changed, for a file."""
        return {n: v.detach().cpu().numpy() for n, v in self._trained.state_dict().items()}

    def restore(self, trajectory: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Stands where `arrays` were taken; its optimiser does not, so it cannot train on."""
        self.reset(trajectory)
        self._trained.load_state_dict({n: torch.from_numpy(v) for n, v in arrays.items()})

    def head_inputs(self, table: RowTable, indices: np.ndarray) -> Tensor:
        """[n, d] what enters the head on some rows, float32 and without gradient.

        A frozen encoder sees every row once.
        """
        if self.frozen:
            return table.lookup(indices, self._head_inputs)
        return self._head_inputs(table.rows.take(indices))

    @property
    def _trained(self) -> nn.Module:
        return self.classifier.head if self.frozen else self.classifier.model

    @contextmanager
    def pretrained(self) -> Iterator[None]:
        """The raw pre-trained encoder inside the block."""
        state = _copied_state(self.classifier.model)
        self.classifier.model.load_state_dict(self._pretrained)
        try:
            yield
        finally:
            self.classifier.model.load_state_dict(state)

    @torch.no_grad()
    def _head_inputs(self, rows: EncodedRows) -> Tensor:
        classifier, device = self.classifier, self.classifier.device
        # With the head passing its input on, the model's logits are what enters the head.
        hook = classifier.head.register_forward_hook(lambda _, given, __: given[0])
        autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=self.recipe.dtype == "bfloat16"
        )
        try:
            with autocast, self._forward(rows) as forward:
                parts = forward.split(np.arange(len(rows)))
                features = torch.cat([forward.logits(part) for part in parts])
        finally:
            hook.remove()
        back = torch.from_numpy(np.argsort(np.concatenate(parts))).to(device)
        return features[back].to(classifier.head.weight.dtype)

    def _forward(self, rows: EncodedRows) -> AbstractContextManager[Forward]:
        classifier = self.classifier
        return forward_pass(classifier.model, rows, classifier.pad_id, classifier.device)


def _copied_state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _random_state(model: PreTrainedModel, seed: int) -> dict[str, Tensor]:
    """The state of a model of the same configuration, as its family initialises it."""
    with seeded(seed):
        drawn = type(model)(model.config)
    return drawn.to(model.device, model.dtype).state_dict()

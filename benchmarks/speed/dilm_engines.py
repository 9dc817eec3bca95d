"""One DiLM matching step by each engine, part by part: see `dilm_step.py`, which times them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.kit.training.batching import EncodedRows
from harness_dilm.generator.language_modelling import divisors, sequence_losses
from harness_dilm.generator.model import Generator
from harness_dilm.matching.full_network import NetworkBatch, matched_parameters
from harness_dilm.matching.learner import Learner, RowTable
from harness_dilm.matching.similarity import (
    HeadBatch,
    Leaves,
    backward_matching_loss,
    sample_weights,
)

OURS, FULL = "closed form", "whole network"
PEERS = {"torch.func": OURS, "whole network, torch.func": FULL}
"""The obvious way to what an engine of ours computes."""

ENGINES = (OURS, "torch.func", "double backward", "published", FULL, "whole network, torch.func")
PARTS = ("score", "learner", "algebra", "backward", "optimiser")


@dataclass
class Clock:
    """Milliseconds spent in each part of a step, step after step."""

    device: torch.device
    spent: dict[str, list[float]] = field(default_factory=lambda: {part: [] for part in PARTS})

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = self._now()
        yield
        self.spent[name].append((self._now() - started) * 1e3)

    def _now(self) -> float:
        if self.device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter()


@dataclass(frozen=True)
class Bench:
    """A generator, a learner, and for each class its synthetic and its real rows."""

    generator: Generator
    learner: Learner
    samples: tuple[EncodedRows, ...]
    read: tuple[EncodedRows, ...]
    real: tuple[EncodedRows, ...]

    def closed_form(self, clock: Clock, targets: list[Leaves] | None = None) -> None:
        """As `harness_dilm.matching.gradient_matching` does it, rows of all classes at once.

        targets: the gradients on the real rows, where they are known already.
        """
        with clock.part("score"):
            weights = self._weights()
        with clock.part("learner"):
            own = self._head_batches(self.read)
            targets = targets or self.real_gradients()
        with clock.part("algebra"):
            matches = [
                batch.match(target, weight.detach())
                for batch, target, weight in zip(own, targets, weights, strict=True)
            ]
        with clock.part("backward"):
            backward_matching_loss(weights, matches)

    def real_gradients(self) -> list[Leaves]:
        """The head's, of each class."""
        return [batch.mean_gradient() for batch in self._head_batches(self.real)]

    def double_backward(self, clock: Clock, *, whole: bool) -> None:
        """Class after class, with automatic differentiation of the head's gradient."""
        for label in range(len(self.samples)):
            with clock.part("score"):
                weights = self._padded_weights(self.samples[label])
            with clock.part("learner"):
                real = self._losses(self.real[label], label)
                synthetic = self._losses(self.read[label], label)
            with clock.part("algebra"), sdpa_kernel(SDPBackend.MATH):
                target = self._head_gradient(real.mean(), whole=whole, differentiable=False)
                own = self._head_gradient((weights * synthetic).sum(), whole=whole)
                loss = 1 - F.cosine_similarity(target, own, dim=0)
            with clock.part("backward"):
                (loss / len(self.samples)).backward(inputs=list(self.generator.model.parameters()))

    def whole_network(self, clock: Clock) -> None:
        """As `harness_dilm.matching.gradient_matching` does it with `match = "full"`."""
        classifier = self.learner.classifier
        names = matched_parameters(classifier, "full")
        with clock.part("score"):
            weights = self._weights()
        matches = []
        for label, weight in enumerate(weights):
            with clock.part("learner"):
                real = NetworkBatch(classifier, names, self.real[label], label).mean_gradient()
            with clock.part("algebra"):
                own = NetworkBatch(classifier, names, self.read[label], label)
                matches.append(own.match(real, weight.detach()))
        with clock.part("backward"):
            backward_matching_loss(weights, matches)

    def torch_func(self, clock: Clock, match: str) -> None:
        """Class after class: a gradient in the generator around one in the learner."""
        model = self.generator.model
        values = {name: p.detach() for name, p in model.named_parameters()}
        for label in range(len(self.samples)):

            def loss(values: dict[str, Tensor], label: int = label) -> Tensor:
                weights = self._padded_weights(self.samples[label], values)
                uniform = torch.full((len(self.real[label]),), 1 / len(self.real[label]))
                target = self._functional_gradient(self.real[label], label, uniform, match)
                own = self._functional_gradient(self.read[label], label, weights, match)
                cosine = F.cosine_similarity(target.detach(), own, dim=0)
                return (1 - cosine) / len(self.samples)

            with clock.part("algebra"), sdpa_kernel(SDPBackend.MATH):
                gradients = torch.func.grad(loss)(values)
            for name, parameter in model.named_parameters():
                before = 0.0 if parameter.grad is None else parameter.grad
                parameter.grad = before + gradients[name]

    def _functional_gradient(
        self, rows: EncodedRows, label: int, weights: Tensor, match: str
    ) -> Tensor:
        classifier = self.learner.classifier
        parameters = dict(classifier.model.named_parameters())
        names = matched_parameters(classifier, match)
        inputs = rows.pad(range(len(rows)), classifier.pad_id, classifier.device)
        targets = torch.full((len(rows),), label, device=classifier.device)

        def loss(values: dict[str, Tensor]) -> Tensor:
            logits = functional_call(classifier.model, values, (), inputs).logits
            losses = F.cross_entropy(logits, targets, reduction="none")
            return (weights.to(losses) * losses).sum()

        found = torch.func.grad(loss)({name: parameters[name].detach() for name in names})
        return torch.cat([leaf.flatten() for leaf in found.values()])

    def _weights(self) -> list[Tensor]:
        """Of the samples of each class, all scored at once."""
        scale = np.concatenate([divisors(rows.lengths, "batch") for rows in self.samples])
        losses = sequence_losses(self.generator, joined(self.samples), scale)
        sizes = [len(rows) for rows in self.samples]
        return [sample_weights(own, 1.0) for own in losses.split(sizes)]

    def _head_batches(self, rows: tuple[EncodedRows, ...]) -> list[HeadBatch]:
        table = RowTable(joined(rows))
        features = self.learner.head_inputs(table, np.arange(len(table.rows)))
        parts = features.split([len(part) for part in rows])
        head = self.learner.classifier.head
        return [HeadBatch.at(head, part, label) for label, part in enumerate(parts)]

    def _padded_weights(self, rows: EncodedRows, values: dict[str, Tensor] | None = None) -> Tensor:
        form = self.generator.format
        inputs = rows.pad(range(len(rows)), form.pad, self.generator.device)
        model = self.generator.model
        outputs = functional_call(model, values, (), inputs) if values else model(**inputs)
        logits = outputs.logits[:, :-1].transpose(1, 2)
        targets = inputs["input_ids"][:, 1:]
        losses = F.cross_entropy(logits, targets, ignore_index=form.pad, reduction="none")
        scale = torch.from_numpy(divisors(rows.lengths, "batch")).to(losses)
        return sample_weights(losses.sum(1) / scale, 1.0)

    def _losses(self, rows: EncodedRows, label: int) -> Tensor:
        classifier = self.learner.classifier
        inputs = rows.pad(range(len(rows)), classifier.pad_id, classifier.device)
        with sdpa_kernel(SDPBackend.MATH):
            logits = classifier.model(**inputs).logits
        targets = torch.full((len(rows),), label, device=classifier.device)
        return F.cross_entropy(logits, targets, reduction="none")

    def _head_gradient(self, loss: Tensor, *, whole: bool, differentiable: bool = True) -> Tensor:
        classifier = self.learner.classifier
        head = list(classifier.head.parameters())
        parameters = list(classifier.model.parameters()) if whole else head
        gradients = torch.autograd.grad(loss, parameters, create_graph=differentiable)
        return torch.cat([gradient.flatten() for gradient in gradients[-len(head) :]])


def joined(parts: tuple[EncodedRows, ...]) -> EncodedRows:
    return EncodedRows(ids=tuple(row for part in parts for row in part.ids))


def run_engine(bench: Bench, engine: str, clock: Clock) -> None:
    bench.generator.model.zero_grad(set_to_none=True)
    match engine:
        case "closed form":
            bench.closed_form(clock)
        case "whole network":
            bench.whole_network(clock)
        case "torch.func" | "whole network, torch.func":
            bench.torch_func(clock, "head" if engine == "torch.func" else "full")
        case _:
            bench.double_backward(clock, whole=engine == "published")


def flat_gradient(bench: Bench) -> Tensor:
    return torch.cat([p.grad.detach().flatten() for p in bench.generator.model.parameters()])

"""A small adapted language model with learned prompts, and inner loops on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from causal_models import make_lm
from harness.kit.language.causal_lm import CausalLM
from harness.kit.language.labelled_rows import IGNORED, LabelledRows
from harness.kit.language.lora import LoraOptions, add_lora
from harness.kit.trajectories.inner_loop.flat_module import FlatModule
from harness.kit.trajectories.inner_loop.inner_losses import LABELS, ResponseLoss
from harness.kit.trajectories.inner_loop.matching_loss import MatchingTarget
from harness.kit.trajectories.inner_loop.optimizers import Adam, InnerOptimizer, InnerState, Sgd
from harness.kit.trajectories.inner_loop.steps import InnerLoop
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS, PseudoRows

TEXTS = [
    ("Question: what colour is grass? Answer: ", "green"),
    ("what is white ", "snow and the cold answer"),
    ("the ", "answer"),
    ("Question: what colour is snow? ", "white and cold, not green"),
]
OPTIMIZERS: dict[str, InnerOptimizer] = {
    "sgd": Sgd(),
    "momentum": Sgd(momentum=0.7),
    "adam": Adam(),
}


@dataclass(frozen=True)
class World:
    """A model in eval mode, its parameters as a function, and rows with learned prompts."""

    lm: CausalLM
    view: FlatModule
    encoded: LabelledRows
    pseudo: PseudoRows

    @property
    def loss(self) -> ResponseLoss:
        return ResponseLoss(self.view, self.encoded, self.pseudo)

    def learned(self, *, soft: bool = False, noise: float = 0.0) -> dict[str, Tensor]:
        """The rows' own embeddings, moved by noise, and soft labels if wanted."""
        draw = torch.Generator().manual_seed(3)
        vectors = self.pseudo.initial(self.view)
        shift = torch.randn(vectors.shape, generator=draw, dtype=vectors.dtype)
        found = {EMBEDDINGS: vectors + noise * shift * self.pseudo.mask.unsqueeze(-1)}
        if soft:
            most = max(int((labels != IGNORED).sum()) for labels in self.encoded.labels)
            shape = (len(self.encoded), most, self.lm.model.config.vocab_size)
            found[LABELS] = torch.randn(shape, generator=draw, dtype=vectors.dtype)
        return found

    def loop(self, optimizer: str, batches: Sequence[Sequence[int]]) -> InnerLoop:
        return InnerLoop(self.loss, OPTIMIZERS[optimizer], [torch.tensor(c) for c in batches])

    def start(self, optimizer: str) -> InnerState:
        """As the optimiser meets the parameters; Adam has moments of earlier steps."""
        theta, known = self.view.start(), OPTIMIZERS[optimizer]
        if not isinstance(known, Adam):
            return known.begin(theta)
        draw = torch.Generator().manual_seed(5)
        first = 1e-2 * torch.randn(theta.shape, generator=draw, dtype=theta.dtype)
        second = 1e-3 * torch.rand(theta.shape, generator=draw, dtype=theta.dtype)
        return known.resume(theta, first, second, steps=3)

    def matching_target(self, distance: float = 0.1) -> MatchingTarget:
        """From where the model stands to a random place."""
        start = self.view.start()
        draw = torch.Generator().manual_seed(7)
        moved = distance * torch.randn(start.shape, generator=draw, dtype=start.dtype)
        return MatchingTarget(self.view.layout, start, start + moved)


def prompt_masks(encoded: LabelledRows) -> tuple[np.ndarray, ...]:
    """Every token before the first labelled one is learned."""
    return tuple(labels == IGNORED for labels in encoded.labels)


def make_world(
    family: str = "llama",
    *,
    dtype: torch.dtype = torch.float64,
    lora: bool = True,
    trained: bool = True,
    names: Sequence[str] | None = None,
    texts: Sequence[tuple[str, str]] = TEXTS,
) -> World:
    """trained: the adapters' second matrices are not zero, as after some training."""
    lm = make_lm(family, dtype=dtype)
    encoded = lm.encoder().encode(list(texts), end=True)
    if lora:
        lm.model = add_lora(lm.model, LoraOptions(rank=2, alpha=4), seed=1).to(dtype).eval()
    if lora and trained:
        draw = torch.Generator().manual_seed(2)
        for name, parameter in lm.model.named_parameters():
            if "lora_B" in name:
                shift = torch.randn(parameter.shape, generator=draw, dtype=dtype)
                parameter.data.copy_(0.1 * shift)
    pseudo = PseudoRows(encoded.rows, prompt_masks(encoded), lm.pad_id, lm.device)
    return World(lm, FlatModule.of(lm.model, names), encoded, pseudo)

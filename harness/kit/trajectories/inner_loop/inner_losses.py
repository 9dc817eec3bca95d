"""Losses of learned rows: of a causal language model's responses, and of a classifier's labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from harness.errors import UsageError
from harness.kit.language.causal_lm import LabelledTokens
from harness.kit.language.forward import only_chosen
from harness.kit.language.labelled_rows import LabelledRows
from harness.kit.language.training import require_labels
from harness.kit.trajectories.inner_loop.flat_module import FlatModule
from harness.kit.trajectories.inner_loop.steps import LearnedTensors
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS, PseudoRows

LABELS = "label_logits"
"""The name of learned soft labels: logits, whose softmax is the target."""


@dataclass(frozen=True)
class ResponseLoss:
    """The mean over rows of the mean cross-entropy of a row's labelled tokens.

    Padding stands on the right, where no token of a causal model sees it, so no mask is needed.
    The learned tensor `label_logits`, [m, most labelled tokens, vocabulary], replaces the hard
    labels where it is given.

    encoded: rows with their labels, of which `pseudo` says what is learned.
    """

    view: FlatModule
    encoded: LabelledRows
    pseudo: PseudoRows

    def __post_init__(self) -> None:
        require_labels(self.encoded)
        if self.encoded.rows.lengths.tolist() != self.pseudo.rows.lengths.tolist():
            raise UsageError("the labelled rows and the learned rows differ in length")

    def __call__(self, flat: Tensor, part: LearnedTensors, members: Tensor) -> Tensor:
        device = self.pseudo.device
        embeds = self.pseudo.embedded(self.view, flat, part[EMBEDDINGS], members)
        tokens = LabelledTokens.of(self.encoded, members.cpu().numpy())
        owners = torch.from_numpy(tokens.rows).to(device)
        chosen = owners * embeds.shape[1] + torch.from_numpy(tokens.positions).to(device)
        with only_chosen(self.view.module, chosen):
            logits = self.view(flat, inputs_embeds=embeds, use_cache=False).logits[0]
        counts = torch.bincount(owners, minlength=len(members))
        targets = torch.from_numpy(tokens.targets).to(device)
        if LABELS in part:
            places = torch.arange(len(owners), device=device) - (counts.cumsum(0) - counts)[owners]
            targets = part[LABELS][owners, places].softmax(-1)
        losses = functional.cross_entropy(logits, targets, reduction="none")
        return (losses / counts[owners]).sum() / len(members)


@dataclass(frozen=True)
class ClassLoss:
    """The mean cross-entropy of the rows' classes, padding masked.

    The learned tensor `label_logits`, [m, classes], replaces the hard labels where it is given.

    labels: [m] classes.
    """

    view: FlatModule
    pseudo: PseudoRows
    labels: Tensor

    def __call__(self, flat: Tensor, part: LearnedTensors, members: Tensor) -> Tensor:
        inputs = self.pseudo.rows.pad(members.cpu().numpy(), self.pseudo.pad_id, members.device)
        del inputs["input_ids"]
        embeds = self.pseudo.embedded(self.view, flat, part[EMBEDDINGS], members)
        logits = self.view(flat, inputs_embeds=embeds, **inputs).logits
        targets = part[LABELS].softmax(-1) if LABELS in part else self.labels[members]
        return functional.cross_entropy(logits, targets)

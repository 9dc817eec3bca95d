"""Per-example gradients, Adam's directions and cosines by the package `dattri-llm`.

Its hooks see the batches that ours see, and its own code does the rest. It needs
`pip install dattri-llm==0.1.0`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from dattri_llm import CaptureCallback, HookManager, HookManagerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.kit.language.loss import example_losses
from harness.kit.training.parameter_layout import ParameterLayout

Batches = Iterable[tuple[np.ndarray, Mapping[str, Tensor]]]
"""Which rows a batch holds, and the batch."""


@dataclass(frozen=True)
class DattriPeer:
    """The package on one model with adapters; optimizer: AdamW of them, with its memory."""

    model: nn.Module
    layout: ParameterLayout
    optimizer: Optimizer

    def features(self, batches: Batches, rows: int, *, adam: bool) -> Tensor:
        """[rows, P] in the order of the layout: gradients, or what Adam makes of them."""
        found = torch.empty(rows, self.layout.size)
        for members, gradient in self._captured(batches, adam=adam):
            dense = gradient.materialize()
            for slot in self.layout.slots:
                layer = slot.name.removesuffix(".weight")
                found[torch.from_numpy(members), slot.start : slot.stop] = dense.data[layer]
        return found

    def cosines(self, batches: Batches, rows: int, target: Any) -> Tensor:
        """[rows, target rows] of Adam's directions with what `whole` captured."""
        found = torch.empty(rows, target.batch_size)
        for members, gradient in self._captured(batches, adam=True):
            found[torch.from_numpy(members)] = gradient.similarity(
                target, metric="cosine", reduce="all"
            )
        return found

    def whole(self, batch: Mapping[str, Tensor]) -> Any:
        """The gradients of one batch as the package holds them, multiplied out."""
        rows = np.arange(len(batch["targets"]))
        ((_, gradient),) = self._captured([(rows, batch)], adam=False)
        return gradient.materialize()

    def _captured(self, batches: Batches, *, adam: bool) -> Iterator[tuple[np.ndarray, Any]]:
        """Of its kinds of hooks the fastest: the one that spares the whole batch's gradient."""
        capture = CaptureCallback()
        manager = HookManager(
            self.model,
            config=HookManagerConfig(
                invasive_linear_io=[r"lora_[AB]\."], capture_style="materialized"
            ),
            callbacks=[capture],
            optimizer=self.optimizer if adam else None,
            sample_hash_fields=["input_ids"],
        )
        with manager.collect(deregister_on_exit=True):
            for members, batch in batches:
                example_losses(self.model, batch).sum().backward()
                assert capture.record is not None
                yield members, capture.record.gradient
                self.model.zero_grad(set_to_none=True)

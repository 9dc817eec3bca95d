"""Multiply-adds of a forward pass, counted by hooks where they happen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def clip_multiply_adds(model: nn.Module, image_size: tuple[int, int], context_length: int) -> int:
    """Of one image and one text through both towers.

    Matrix products, convolutions and attention count, as torch's `FlopCounterMode` sees them;
    norms, activations and biases do not. A floating-point operation is half a multiply-add.
    """
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, *image_size, device=device)
    text = torch.zeros(1, context_length, dtype=torch.int64, device=device)
    training = model.training
    model.eval()
    with torch.no_grad(), _separate_attention(), FlopCounterMode(display=False) as counter:
        model.encode_image(image)
        model.encode_text(text)
    model.train(training)
    return int(counter.get_total_flops()) // 2


@contextmanager
def _separate_attention() -> Iterator[None]:
    """Attention by its parts: the counter knows not every operation that does all at once."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)

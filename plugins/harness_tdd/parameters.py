"""What the inner loop trains where nothing is named: the top of the encoder, and the head."""

from __future__ import annotations

import re

from torch import nn

_LAYER = re.compile(r"\.(\d+)\.")


def top_third(model: nn.Module) -> str:
    """The names of all parameters from the first of the top third of the layers on.

    Layers are known by the first number in a name, as in `encoder.layer.4.output`. A model
    without numbered layers gives `*`.
    """
    names = [name for name, _ in model.named_parameters()]
    numbers = [int(found[1]) if (found := _LAYER.search(name)) else -1 for name in names]
    layers = max(numbers) + 1
    if not layers:
        return "*"
    first = numbers.index(layers - -(-layers // 3))
    return ",".join(names[first:])

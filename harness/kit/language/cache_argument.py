"""The key-value cache argument of transformers' causal language models."""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import DynamicCache, PreTrainedModel


def with_cache(model: PreTrainedModel, known: DynamicCache) -> dict[str, Any]:
    """The arguments of `model.forward` that make it go on behind `known`, and add to it."""
    return {_name_of_the_cache(type(model).forward): known, "use_cache": True}


@cache
def _name_of_the_cache(forward: Callable[..., Any]) -> str:
    """transformers 5.24 renamed `past_key_values` to `cache`, and 5.40 is to drop the old name."""
    taken = inspect.signature(forward).parameters
    return "cache" if "cache" in taken else "past_key_values"

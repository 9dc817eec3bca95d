"""Reading behind a shared prefix, whose keys and values are computed once.

Three ways give the same logits. `packed` lays rows end to end, each a branch that sees the prefix
and itself alone: nothing is padded and the prefix is never copied, but a family has to take a mask
and position numbers. `expanded` pads rows on the right and repeats the prefix for each of them.
`whole` reads prefix and row together, for models that keep other states than keys and values.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from harness.kit.language.cache_argument import with_cache
from harness.kit.language.causal_lm import CausalLM
from harness.kit.language.forward import GROUP_ROWS, CausalForward, only_chosen
from harness.kit.language.readings import can_branch, visible
from harness.kit.training.batching import EncodedRows, group_overhead, length_groups, token_limit

if TYPE_CHECKING:
    from transformers import DynamicCache

ReadingMode = Literal["packed", "expanded", "whole"]

CPU_PACKED = 512
ACCELERATOR_PACKED = 2048
"""Tokens of a pack: its mask, and what its rows compute in vain of one another, is their square."""
CACHED_TOKENS = 8192
"""Tokens of which a group of padded rows holds keys and values, the prefix counted for each."""


def way_to_read(lm: CausalLM) -> ReadingMode:
    """The fastest way that the model's family allows."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    layers = {type(layer) for layer in DynamicCache(config=lm.model.config).layers}
    if can_branch(lm.model) and layers <= {DynamicLayer}:
        return "packed"
    return "expanded" if layers <= {DynamicLayer, DynamicSlidingWindowLayer} else "whole"


def split_rows(
    lengths: np.ndarray, prefix: int, way: ReadingMode, device: torch.device
) -> list[np.ndarray]:
    """Cuts rows of so many tokens, behind `prefix` tokens, into groups that are read at once."""
    if way == "packed":
        most = CPU_PACKED if device.type == "cpu" else ACCELERATOR_PACKED
        return _packs(lengths, most)
    known = {"overhead": group_overhead(device), "max_tokens": token_limit(device)}
    if way == "whole":
        return length_groups(lengths + prefix, GROUP_ROWS, **known)
    rows = CACHED_TOKENS // (prefix + int(lengths.max(initial=1)))
    return length_groups(lengths, min(GROUP_ROWS, max(1, rows)), **known)


@dataclass(frozen=True)
class SharedPrefix:
    """A language model that has read `prefix`, [p] token ids, p >= 0."""

    lm: CausalLM
    prefix: np.ndarray
    way: ReadingMode

    def logits(self, rows: Sequence[np.ndarray]) -> Tensor:
        """[n, vocabulary] logits that follow the last token of each row behind the prefix."""
        read = {"packed": self._packed, "expanded": self._expanded, "whole": self._whole}
        return read[self.way](rows)

    @cached_property
    def _cache(self) -> DynamicCache:
        from transformers import DynamicCache

        cache = DynamicCache(config=self.lm.model.config)
        if len(self.prefix):
            ids = torch.from_numpy(self.prefix.astype(np.int64))[None].to(self.lm.device)
            base = self.lm.model.base_model
            base(input_ids=ids, **with_cache(base, cache))
        return cache

    def _packed(self, rows: Sequence[np.ndarray]) -> Tensor:
        lengths = np.array([len(row) for row in rows])
        branches = np.repeat(np.arange(1, len(rows) + 1), lengths)
        own = visible([branches], len(branches))
        seen = np.concatenate([np.ones((*own.shape[:2], len(self.prefix)), bool), own], axis=2)
        mask = torch.zeros(seen.shape, dtype=self.lm.model.dtype)
        mask.masked_fill_(~torch.from_numpy(seen), torch.finfo(mask.dtype).min)
        positions = len(self.prefix) + np.concatenate([np.arange(length) for length in lengths])
        return self._last(
            torch.from_numpy(np.concatenate(rows).astype(np.int64))[None],
            np.cumsum(lengths) - 1,
            position_ids=torch.from_numpy(positions)[None].to(self.lm.device),
            attention_mask=mask.unsqueeze(1).to(self.lm.device),
        )

    def _expanded(self, rows: Sequence[np.ndarray]) -> Tensor:
        encoded = EncodedRows(tuple(rows))
        ids = encoded.pad(np.arange(len(rows)), self.lm.pad_id, "cpu")["input_ids"]
        return self._last(ids, np.arange(len(rows)) * ids.shape[1] + encoded.lengths - 1)

    def _last(self, ids: Tensor, chosen: np.ndarray, **inputs: Tensor) -> Tensor:
        """Logits of the chosen tokens of [rows, longest] ids, counted over all of them."""
        places = torch.from_numpy(chosen).to(self.lm.device)
        with only_chosen(self.lm.model, places):
            return self.lm.model(
                input_ids=ids.to(self.lm.device),
                **with_cache(self.lm.model, self._for_rows(len(ids))),
                **inputs,
            ).logits[0]

    def _for_rows(self, count: int) -> DynamicCache:
        """The prefix's keys and values, seen as those of `count` rows; the cache stays as it is."""
        shared = copy.copy(self._cache)
        shared.layers = [copy.copy(layer) for layer in self._cache.layers]
        for layer in shared.layers:
            if layer.is_initialized:
                layer.keys = layer.keys.expand(count, -1, -1, -1)
                layer.values = layer.values.expand(count, -1, -1, -1)
        return shared

    def _whole(self, rows: Sequence[np.ndarray]) -> Tensor:
        encoded = EncodedRows(tuple(np.concatenate([self.prefix, row]) for row in rows))
        forward = CausalForward(self.lm.model, encoded, self.lm.pad_id, self.lm.device)
        members = np.arange(len(rows))
        return forward.logits(members, members, encoded.lengths - 1)


def _packs(lengths: np.ndarray, most: int) -> list[np.ndarray]:
    """Neighbouring rows of at most so many tokens together; a longer row stands alone."""
    packs: list[list[int]] = []
    filled = 0
    for row, length in enumerate(lengths.tolist()):
        if not packs or filled + length > most:
            packs.append([])
            filled = 0
        packs[-1].append(row)
        filled += length
    return [np.array(pack) for pack in packs]

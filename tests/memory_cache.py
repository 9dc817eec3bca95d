"""A cache of shared arrays in memory, for tests of what methods compute once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.fingerprint import canonical_json

Arrays = Mapping[str, np.ndarray]


@dataclass
class MemoryCache:
    """Keeps arrays by name and inputs, and lists the names of those computed, in order.

    anew: names that are not kept, for tests that share a cache and still compute by themselves.
    """

    computed: list[str] = field(default_factory=list)
    anew: tuple[str, ...] = ()
    stored: dict[str, Arrays] = field(default_factory=dict)

    def arrays(self, name: str, inputs: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
        key = name + canonical_json(dict(inputs))
        if key not in self.stored or name in self.anew:
            self.stored[key] = compute()
            self.computed.append(name)
        return self.stored[key]

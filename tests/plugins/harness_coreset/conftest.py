"""A context with one small student, and points as embeddings would be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.context import StageContext
from harness.fingerprint import canonical_json
from harness_text.students import Bert


@dataclass
class MemoryCache:
    """Keeps arrays by name and inputs, and lists the names of those computed, in order."""

    computed: list[str] = field(default_factory=list)
    _stored: dict[str, Mapping[str, np.ndarray]] = field(default_factory=dict)

    def arrays(
        self, name: str, inputs: Mapping[str, Any], compute: Callable[[], Mapping[str, np.ndarray]]
    ) -> Mapping[str, np.ndarray]:
        key = name + canonical_json(dict(inputs))
        if key not in self._stored:
            self._stored[key] = compute()
            self.computed.append(name)
        return self._stored[key]


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache()


@pytest.fixture
def computed(cache: MemoryCache) -> list[str]:
    """Names of the arrays that were computed instead of found, in order."""
    return cache.computed


@pytest.fixture
def make_context(tmp_path: Path, cache: MemoryCache) -> Callable[[int], StageContext]:
    """A context for a seed; every student spec gives the randomly initialised small BERT."""

    def make(seed: int) -> StageContext:
        return StageContext(seed, tmp_path, cache=cache, student=lambda spec: Bert("tiny"))

    return make

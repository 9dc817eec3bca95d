"""A context with one small student, and points as embeddings would be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.context import StageContext
from harness_text.students import Bert
from memory_cache import MemoryCache


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

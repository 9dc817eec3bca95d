"""Fixtures for trajectory matching; what they are made of is in `matching_world.py`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import matching_world

from harness_trajectory import pictures
from memory_cache import MemoryCache


@pytest.fixture(scope="session", autouse=True)
def _undrawn() -> Iterator[None]:
    """A picture takes longer to draw than a toy run; one test draws it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "png_of", lambda spec: None)
        yield


@pytest.fixture(scope="session")
def cache() -> MemoryCache:
    """Shared by all tests, so that experts are trained once for each setting of them.

    What is learned is not kept, so that each test learns by itself.
    """
    return MemoryCache(anew=("trajectory-vectors",))


@pytest.fixture(scope="session")
def done(cache: MemoryCache, tmp_path_factory: pytest.TempPathFactory) -> matching_world.Done:
    """A whole run on a toy task of instructions."""
    return matching_world.run(tmp_path_factory.mktemp("done"), cache)

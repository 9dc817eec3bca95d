"""Fixtures for LESS; what they are made of is in `less_world.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import less_world


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> less_world.Scene:
    """Eight related and sixteen unrelated rows, and a proxy that was trained on some of them."""
    task = less_world.planted_task(8, 16)
    return less_world.make_scene(tmp_path_factory.mktemp("scene"), task)

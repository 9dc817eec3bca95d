"""Fixtures for DiLM's tests; what they are made of is in `dilm_world.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.context import StageContext
from harness.types import TaskData

sys.path.insert(0, str(Path(__file__).parent))

import dilm_world

from harness_dilm.generator.model import Generator


@pytest.fixture
def task() -> TaskData:
    return dilm_world.make_task()


@pytest.fixture
def pair_task() -> TaskData:
    return dilm_world.make_task(fields=2)


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    return dilm_world.make_context(tmp_path / "work")


@pytest.fixture
def make_generator(context: StageContext) -> Callable[..., Generator]:
    """Builds a generator for a task; keyword arguments override the tiny options."""

    def make(task: TaskData, **options: Any) -> Generator:
        return dilm_world.make_generator(task, context, **options)

    return make


@pytest.fixture
def generator(make_generator: Callable[..., Generator], task: TaskData) -> Generator:
    return make_generator(task)

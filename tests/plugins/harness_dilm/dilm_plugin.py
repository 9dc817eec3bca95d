"""A one-file plugin: DiLM's tiny world as a task, and as a student that is only ever a proxy."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import dilm_world

from harness import hookimpl
from harness.types import TaskData

HARNESS_API = 1


@dataclass(frozen=True)
class TinyTask:
    """Forty sentences of two classes."""

    def load(self, locator: Any) -> TaskData:
        del locator
        task = dilm_world.make_task()
        test = dilm_world.make_rows(20, 1, seed=2)
        return replace(task, splits={**task.splits, "test": test})


@hookimpl
def harness_register_tasks(register: Any) -> None:
    register("tiny-sentences", TinyTask, summary="two classes of sentences on films")


@hookimpl
def harness_register_students(register: Any) -> None:
    register("tiny-bert", dilm_world.TinyStudent, summary="a classifier of two layers")

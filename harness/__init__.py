"""Benchmark of dataset and model distillation under one fair protocol.

Importing this package imports neither torch nor any plugin.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from harness.budget import Budget
from harness.errors import ContractError, HarnessError, MissingDependencyError, UsageError
from harness.hookspecs import hookimpl
from harness.types import (
    DataSource,
    DistilledData,
    Recipe,
    Score,
    StudentInfo,
    TaskData,
)
from harness.version import __version__

if TYPE_CHECKING:
    from harness.api import bench, distill, load_results
    from harness.comparison.comparing import compare
    from harness.leaderboard.board import build_board as board

__all__ = [
    "Budget",
    "ContractError",
    "DataSource",
    "DistilledData",
    "HarnessError",
    "MissingDependencyError",
    "Recipe",
    "Score",
    "StudentInfo",
    "TaskData",
    "UsageError",
    "__version__",
    "bench",
    "board",
    "compare",
    "distill",
    "hookimpl",
    "load_results",
]

_LAZY = {
    "bench": "harness.api:bench",
    "board": "harness.leaderboard.board:build_board",
    "compare": "harness.comparison.comparing:compare",
    "distill": "harness.api:distill",
    "load_results": "harness.api:load_results",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module, _, attribute = _LAZY[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module 'harness' has no attribute '{name}'")

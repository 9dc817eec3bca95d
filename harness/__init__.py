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

if TYPE_CHECKING:
    from harness.api import bench, distill, load_results
    from harness.comparison.comparing import compare

__version__ = "0.1.0"
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
    "bench",
    "compare",
    "distill",
    "hookimpl",
    "load_results",
]

_LAZY = {
    "bench": "harness.api",
    "compare": "harness.comparison.comparing",
    "distill": "harness.api",
    "load_results": "harness.api",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'harness' has no attribute '{name}'")

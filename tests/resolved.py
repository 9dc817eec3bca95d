"""Components with options as a suite or the command line gives them: converted and checked."""

from __future__ import annotations

from typing import Any

from harness.registry.components import Component, resolve


def resolved(target: type, **options: Any) -> Any:
    """An instance of a component's class; UsageError for an option out of its bounds."""
    component = Component("distiller", target.__name__, target, "", "", "", "")
    return resolve(component, "", options).instance

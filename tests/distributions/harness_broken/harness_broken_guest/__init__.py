"""A plugin with a misspelt hook, which must cost nobody else anything."""

from __future__ import annotations

from typing import Any

from harness import hookimpl


@hookimpl
def harness_register_distilers(register: Any) -> None:
    register("never", "nowhere:Nothing", summary="never seen", produces="selection")

"""The project's own suites, offered as a plugin would."""

from __future__ import annotations

from pathlib import Path

from harness.hookspecs import RegisterSuite, hookimpl

HARNESS_API = 1


@hookimpl
def harness_register_suites(register: RegisterSuite) -> None:
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        register(str(path))

"""Every hook is documented, with its exact signature, and has a test."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from harness import hookspecs

ROOT = Path(__file__).parents[2]
HOOKS = {
    name: function
    for name, function in vars(hookspecs).items()
    if inspect.isfunction(function) and name.startswith("harness_")
}


def test_there_are_hooks() -> None:
    assert len(HOOKS) >= 13


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_in_the_docs_with_its_signature(name: str) -> None:
    arguments = ", ".join(inspect.signature(HOOKS[name]).parameters)
    page = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    assert f"`{name}({arguments})`" in page
    assert " ".join((inspect.getdoc(HOOKS[name]) or "").split()) in page


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_used_by_a_test_or_by_the_project_itself(name: str) -> None:
    users = [
        path
        for folder in ("tests", "plugins", "benchmarks", "harness")
        for path in (ROOT / folder).rglob("*.py")
        if path.name not in {"hookspecs.py", "test_hookspecs.py"}
        and f"def {name}" in path.read_text(encoding="utf-8")
    ]
    assert users, f"nothing implements {name}"

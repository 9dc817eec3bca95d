"""What `harness doctor` finds out about packages that should fit one another."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest

from harness.cli.diagnosis import diagnose


def _finding(monkeypatch: pytest.MonkeyPatch, outcome: object) -> tuple[str, str]:
    """State and detail of the check of torchvision, whose import gives or raises `outcome`."""
    real = importlib.import_module

    def pretend(name: str, package: str | None = None) -> object:
        if name != "torchvision":
            return real(name, package)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(importlib, "import_module", pretend)
    monkeypatch.setattr("harness.cli.diagnosis._tasks", lambda *arguments: [])
    host = SimpleNamespace(broken=[])
    findings = diagnose(host, None)  # type: ignore[arg-type]
    found = next(f for f in findings if f.check == "torchvision")
    return found.state, found.detail


def test_a_pair_of_torch_and_torchvision_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    state, detail = _finding(monkeypatch, SimpleNamespace(__version__="0.99"))
    assert state == "ok"
    assert "0.99" in detail


def test_a_torchvision_made_for_another_torch_is_named_with_the_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = RuntimeError("operator torchvision::nms does not exist\nmore")
    state, detail = _finding(monkeypatch, error)
    assert state == "broken"
    assert "does not fit torch" in detail
    assert "torchvision::nms does not exist)" in detail
    assert "pip install --force-reinstall torch torchvision" in detail


def test_a_missing_torchvision_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    state, detail = _finding(monkeypatch, ImportError("No module named 'torchvision'"))
    assert state == "broken"
    assert "pip install torchvision" in detail

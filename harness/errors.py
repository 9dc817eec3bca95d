"""Errors that users meet: what was wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


class HarnessError(Exception):
    """A failure the user can act on; shown without a traceback unless `--debug` is given."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(HarnessError):
    """The request itself cannot be carried out: an unknown name, option or value."""

    exit_code = 2


class MissingDependencyError(HarnessError):
    """A package, weight file or data set that the request needs is not here."""

    exit_code = 3


class ComputedElsewhere(BaseException):
    """Another process is computing an array that a stage asked for, so the stage is put off.

    Not an Exception: a method that handles its own failures must not take it for one.
    """


class StoreError(HarnessError):
    """The results folder cannot be read or written."""


class DivergenceError(HarnessError):
    """Training left the finite numbers; another learning rate of the grid may still work."""


class ContractError(HarnessError):
    """A plugin returned something that breaks its contract with the host."""

    def __init__(self, *, plugin: str, field: str, expected: str, got: str) -> None:
        super().__init__(f"{plugin} broke its contract: {field} should be {expected}, got {got}")
        self.plugin = plugin
        self.field = field
        self.expected = expected
        self.got = got

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_contract_error, (self.plugin, self.field, self.expected, self.got)


class HarnessWarning(UserWarning):
    """Something the user should know that does not stop the work."""


def _rebuild_contract_error(plugin: str, field: str, expected: str, got: str) -> ContractError:
    return ContractError(plugin=plugin, field=field, expected=expected, got=got)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """One line that suggests the closest known names, or lists them all when few."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Known: {', '.join(names)}." if names else "None are registered."


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    return UsageError(f"unknown {kind} '{name}'", hint=did_you_mean(name, known))

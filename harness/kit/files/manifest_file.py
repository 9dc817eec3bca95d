"""`manifest.json` beside arrays on disk: written whole or not at all, compared by field."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, UsageError

NAME = "manifest.json"


def write_fields(folder: Path, version: int, fields: Mapping[str, Any]) -> None:
    """Writes the fields and the version of their format."""
    partial = folder / f"{NAME}.partial"
    with partial.open("w", encoding="utf-8") as text:
        json.dump({"format": version, **fields}, text, indent=1, sort_keys=True)
        text.flush()
        os.fsync(text.fileno())
    partial.replace(folder / NAME)


def read_fields(folder: Path, version: int, what: str) -> dict[str, Any]:
    """The fields of a folder's manifest; `what` names the kind of folder in messages.

    Raises:
        UsageError: there is none.
        HarnessError: it cannot be read, or is of another version of the format.
    """
    try:
        found = dict(json.loads((folder / NAME).read_text(encoding="utf-8")))
        written = found.pop("format")
    except FileNotFoundError as error:
        raise UsageError(f"there is no {what} in '{folder}'") from error
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(folder, what, f"{NAME} cannot be read") from error
    if written != version:
        raise damaged(folder, what, f"its format is {written}, this is {version}")
    return found


def require_equal_fields(
    own: Mapping[str, Any], others: Mapping[str, Any], names: Sequence[str], message: str
) -> None:
    """Refuses fields that differ; `message` begins the error, which lists them.

    Raises:
        UsageError: something differs.
    """
    differing = [name for name in names if own[name] != others[name]]
    if differing:
        pairs = "; ".join(f"{name}: {own[name]} and {others[name]}" for name in differing)
        raise UsageError(f"{message}: {pairs}")


def damaged(folder: Path, what: str, why: str) -> HarnessError:
    """The error for a folder that no longer holds what was written."""
    return HarnessError(
        f"the {what} in '{folder}' is damaged: {why}", hint="Delete it and run again."
    )

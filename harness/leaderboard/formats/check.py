"""`leaderboard --check`: whether a committed board is still the one that its records give."""

from __future__ import annotations

import difflib


def differences(committed: str, made: str) -> str:
    """A unified diff from the committed text to the one made anew; empty when they are equal."""
    lines = difflib.unified_diff(
        committed.splitlines(), made.splitlines(), "committed", "made anew", lineterm=""
    )
    text = "\n".join(lines)
    if not text and committed != made:
        return "--- committed\n+++ made anew\nonly the line ends differ\n"
    return f"{text}\n" if text else ""

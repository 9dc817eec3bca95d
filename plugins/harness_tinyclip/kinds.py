"""Option values of TinyCLIP: inheritance, depth, masks; need no torch."""

from __future__ import annotations

from typing import Literal

Depth = Literal["interval_front", "even"]
Inheritance = Literal["none", "manual", "auto"]
MaskKind = Literal["hidden", "heads", "intermediate", "layers"]
MASK_KINDS: tuple[MaskKind, ...] = ("hidden", "heads", "intermediate", "layers")

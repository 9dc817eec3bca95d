"""What layers are inherited by and what is masked, by name; without torch, for listings."""

from __future__ import annotations

from typing import Literal

Depth = Literal["interval_front", "even"]
Inheritance = Literal["none", "manual", "auto"]
MaskKind = Literal["hidden", "heads", "intermediate", "layers"]
MASK_KINDS: tuple[MaskKind, ...] = ("hidden", "heads", "intermediate", "layers")

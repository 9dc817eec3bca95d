"""Options of methods that embed or score instructions by a language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.errors import UsageError
from harness.kit.language.proxy import MAX_LENGTH
from harness.kit.selection.row_pool import require_pool
from harness.options import later_option


@dataclass(frozen=True)
class ProxyOptions:
    """Which model, and how many rows it looks at.

    proxy: an untrained student; the suite's when empty.
    pool: how many train rows to consider; all when 0.
    """

    proxy: str = ""
    pool: int = later_option(0)

    modalities: ClassVar[tuple[str, ...]] = ("instruction",)

    def __post_init__(self) -> None:
        require_pool(self.pool)


@dataclass(frozen=True)
class HiddenStateOptions(ProxyOptions):
    """max_length: tokens read of a row; of a longer one the prompt loses its first."""

    max_length: int = MAX_LENGTH

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length < 1:
            raise UsageError(f"max_length must be positive, got {self.max_length}")

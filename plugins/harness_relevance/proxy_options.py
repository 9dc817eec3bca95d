"""Options of methods that embed or score instructions by a language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.kit.language.proxy import MAX_LENGTH
from harness.options import Count, Natural, later_option


@dataclass(frozen=True)
class ProxyOptions:
    """Which model, and how many rows it looks at.

    proxy: an untrained student; the suite's when empty.
    pool: how many train rows to consider; all when 0.
    """

    proxy: str = ""
    pool: Natural = later_option(0)

    modalities: ClassVar[tuple[str, ...]] = ("instruction",)


@dataclass(frozen=True)
class HiddenStateOptions(ProxyOptions):
    """max_length: tokens read of a row; of a longer one the prompt loses its first."""

    max_length: Count = MAX_LENGTH

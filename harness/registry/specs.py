"""Component specs, as in suites and on the command line: `NAME[:ARGUMENT]` and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ComponentSpec:
    """One component as somebody wrote it.

    `lightclip[softening=0,stages=1,2]` is `lightclip` with two options of its own, so that several
    configurations of one method can stand on a board. A part without `=` belongs to the value
    before it. Brackets without any `=` are part of the argument.
    """

    name: str
    argument: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> ComponentSpec:
        """Reads `NAME`, `NAME:ARGUMENT`, and either with `[OPTION=VALUE,...]` behind it."""
        head, options = text, dict[str, str]()
        if text.endswith("]") and "[" in text:
            before, _, inner = text[:-1].rpartition("[")
            if "=" in inner.partition(",")[0]:
                head, options = before, _options(inner)
        name, _, argument = head.partition(":")
        return cls(name, argument, options)


def split_specs(text: str) -> list[str]:
    """The specs of a comma-separated list; a comma inside brackets separates options."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if character == "," and depth <= 0:
            parts.append(text[start:position])
            start = position + 1
    return [part.strip() for part in (*parts, text[start:]) if part.strip()]


def _options(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    last = ""
    for part in text.split(","):
        option, equals, value = part.partition("=")
        if equals:
            last = option.strip()
            found[last] = value.strip()
        else:
            found[last] += f",{part.strip()}"
    return found

"""Prompt templates: text with {fields}, filled from the columns of a row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from string import Formatter

from harness.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Template:
    """Text with `{name}` where a value goes; `{{` and `}}` are plain braces."""

    text: str

    def __post_init__(self) -> None:
        if not self.fields:
            raise UsageError(f"template {self.text!r} has no {{field}}")

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The names it asks for, in order."""
        return tuple(name for _, name in self._parts if name)

    def check(self, known: Collection[str], where: str) -> None:
        """Raises UsageError when it asks for a field that is not known."""
        for name in self.fields:
            if name not in known:
                raise UsageError(
                    f"template {self.text!r} asks for '{name}', which {where} does not have",
                    hint=f"{did_you_mean(name, known)} Its fields: {', '.join(known)}.",
                )

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with the values in place, each without blanks around it."""
        return "".join(
            literal + (values[name].strip() if name else "") for literal, name in self._parts
        )

    @cached_property
    def _parts(self) -> tuple[tuple[str, str], ...]:
        """Literal text and the field after it, '' at the end."""
        try:
            parsed = list(Formatter().parse(self.text))
        except ValueError as error:
            raise UsageError(f"template {self.text!r}: {error}") from error
        for _, name, form, conversion in parsed:
            if name is not None and (not name.isidentifier() or form or conversion):
                raise UsageError(
                    f"template {self.text!r}: a field is a plain name, such as {{prompt}}"
                )
        return tuple((literal, name or "") for literal, name, _, _ in parsed)

"""Descriptions of components and their options, read from docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.options import OptionType, declared_types, has_options, option_type

REQUIRED = "required"
_AND = r"(?:,\s+|\s+and\s+)"


@dataclass(frozen=True)
class Option:
    """A field of a component's dataclass.

    default: `REQUIRED` without one; text: of the docstring, on one line; empty without.
    """

    name: str
    type: OptionType
    default: Any
    text: str


@dataclass(frozen=True)
class Chapter:
    """A class that a component is, or inherits from.

    about: its docstring but for the options; options: those that it tells of.
    """

    about: str
    options: tuple[Option, ...]


def describe(target: type) -> tuple[Chapter, ...]:
    """A component's own chapter, then those of the classes that it inherits options from.

    A docstring tells of options by `name: text`, or `name, other: text` of several, at the start
    of a line or behind `;` or `.`, to the end of the paragraph. The nearest class that tells of an
    option counts; an option that none tells of is in the component's own chapter.
    """
    fields = dataclasses.fields(target) if has_options(target) else ()
    classes = [c for c in inspect.getmro(target) if c is target or has_options(c)]
    told = [_told(_docstring(c), [field.name for field in fields]) for c in classes]
    teller = {name: i for i in reversed(range(len(told))) for name in told[i][1]}
    declared = declared_types(target) if fields else {}
    options: list[list[Option]] = [[] for _ in classes]
    for field in fields:
        place = teller.get(field.name, 0)
        text = told[place][1].get(field.name, "")
        kind = option_type(declared[field.name])
        options[place].append(Option(field.name, kind, _default(field), text))
    chapters = [Chapter(about, tuple(own)) for (about, _), own in zip(told, options, strict=True)]
    return tuple(chapter for chapter in chapters if chapter.about or chapter.options)


def _docstring(of: type) -> str:
    text = inspect.cleandoc(vars(of).get("__doc__") or "")
    # Of a dataclass without a text `dataclass` makes one: its name and signature.
    return "" if text.startswith(f"{of.__name__}(") else text


def _told(text: str, names: Iterable[str]) -> tuple[str, Mapping[str, str]]:
    """What a docstring says of the named options, and the rest of it."""
    name = f"(?:{'|'.join(names)})"
    heads = re.compile(rf"(?:^|(?<=[.;]\s))({name}(?:{_AND}{name})*):\s", re.MULTILINE)
    rest: list[str] = []
    told: dict[str, str] = {}
    for paragraph in re.split(r"\n(?:\s*\n)+", text):
        before, *entries = heads.split(paragraph)
        rest.append(before.rstrip())
        for group, entry in zip(entries[::2], entries[1::2], strict=True):
            line = " ".join(entry.split()).rstrip(";.") + "."
            told |= dict.fromkeys(re.split(_AND, group), line)
    return "\n\n".join(filter(None, rest)), told


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return REQUIRED

"""A component's options: the fields of its dataclass, converted, and checked by their types.

A type may hold bounds, as those below do; `Annotated[int, Ge(2)]` makes others.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Gt, Le, Lt

from harness.errors import UsageError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
PositiveShare = Annotated[float, Gt(0), Le(1)]
ShareBelowOne = Annotated[float, Ge(0), Lt(1)]
HeldOutShare = Annotated[float, Gt(0), Lt(0.5)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
FinitePositive = Annotated[float, Gt(0), Lt(math.inf)]
Weight = Annotated[float, Ge(0), Lt(math.inf)]
"""Of a loss; 0 turns it off."""

T = TypeVar("T")
_LATER = "later"
_KINDS = {
    int: ("a whole number", "whole numbers"), float: ("a number", "numbers"),
    str: ("text", "texts"), bool: ("yes or no", "yes or no"), types.NoneType: ("none", "none"),
}  # fmt: skip


@dataclass(frozen=True)
class OptionType:
    """What an option may be, in words.

    kind: such as `a whole number`; values: all that are allowed, if they are few.
    bound: such as `at least 1`; empty without.
    """

    kind: str
    values: tuple[Any, ...] = ()
    bound: str = ""

    def __str__(self) -> str:
        return f"{self.kind}, {self.bound}" if self.bound else self.kind


def option_type(annotation: Any) -> OptionType:
    """An annotation in words."""
    return _described(annotation, many=False)


def later_option(default: Any) -> Any:
    """A field of a component whose results are published already without that option.

    At its default it changes nothing, so it is no part of a choice then: keys stay what they were,
    and those results stand beside new ones.
    """
    return dataclasses.field(default=default, metadata={_LATER: True})


@functools.cache
def adapter(annotation: type[T]) -> TypeAdapter[T]:
    """What reads, checks and writes values of a type; made once, because that takes long."""
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


def convert(value: Any, annotation: Any, *, where: str) -> Any:
    """One option value in its declared type; text from the command line is parsed.

    Raises:
        UsageError: the value does not fit the type or its bounds.
    """
    from pydantic import ValidationError

    split = isinstance(value, str) and _is_sequence(annotation)
    plain = [part.strip() for part in value.split(",") if part.strip()] if split else value
    try:
        return adapter(annotation).validate_python(plain)
    except ValidationError as error:
        raise UsageError(f"{where} = {value!r}: should be {option_type(annotation)}") from error


def require_fields(instance: Any, *, where: str) -> None:
    """Raises UsageError unless the fields of a dataclass are of their types, within bounds."""
    target: type = type(instance)
    declared = declared_types(target)
    for field in dataclasses.fields(instance):
        convert(getattr(instance, field.name), declared[field.name], where=f"{where}.{field.name}")


@functools.cache
def declared_types(target: type) -> Mapping[str, Any]:
    return typing.get_type_hints(target, include_extras=True)


def has_options(target: type) -> bool:
    return dataclasses.is_dataclass(target)


def options_of(instance: Any) -> dict[str, Any]:
    """The options by name, those that came later only where they are set."""
    plain = adapter(object)
    return {
        f.name: plain.dump_python(getattr(instance, f.name), mode="json")
        for f in dataclasses.fields(instance)
        if not (f.metadata.get(_LATER) and getattr(instance, f.name) == f.default)
    }


def typed_options(target: type, options: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    declared = declared_types(target) if options else {}
    return {
        name: convert(value, declared[name], where=f"{where}.{name}")
        for name, value in options.items()
    }


def _is_sequence(annotation: Any) -> bool:
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    return typing.get_origin(annotation) in (tuple, list)


def _described(annotation: Any, *, many: bool) -> OptionType:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        bare = _described(inner[0], many=many)
        return dataclasses.replace(bare, bound=" and ".join(_bounds(inner[1:])) or bare.bound)
    if origin is Literal:
        return OptionType(_joined([str(value) or "empty" for value in inner]), inner)
    if origin in (tuple, list):
        each = _described(inner[0], many=True)
        return dataclasses.replace(each, kind=f"a list of {each.kind}")
    if origin in (typing.Union, types.UnionType):
        ways = [_described(way, many=many) for way in inner]
        return OptionType(
            _joined([way.kind for way in ways]),
            tuple(value for way in ways for value in way.values),
            ", ".join(way.bound for way in ways if way.bound),
        )
    if annotation in _KINDS:
        return OptionType(_KINDS[annotation][many])
    return OptionType(annotation.__name__ if isinstance(annotation, type) else str(annotation))


def _bounds(metadata: tuple[Any, ...]) -> list[str]:
    """Of `Ge` and the like, each of which has one of these names; `Interval` has all."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [(words[n], getattr(m, n, None)) for m in metadata for n in words]
    return [
        "finite" if limit == math.inf else f"{word} {limit}"
        for word, limit in limits
        if limit is not None
    ]


def _joined(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))

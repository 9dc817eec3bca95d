"""A component's options: the fields of its dataclass, converted and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from harness.errors import (
    UsageError,
)

_LATER = "later"


def later_option(default: Any) -> Any:
    """A field of a component whose results are published already without that option.

    At its default it changes nothing, so it is no part of a choice then: keys stay what they were,
    and those results stand beside new ones.
    """
    return dataclasses.field(default=default, metadata={_LATER: True})


def convert(value: Any, annotation: Any, *, where: str) -> Any:
    """One option value in its declared type; text from the command line is parsed.

    Raises:
        UsageError: the value does not fit the type.
    """
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(annotation)
    if isinstance(value, str) and _is_sequence(annotation):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UsageError(f"{where} = {value!r}: {reason}") from error


def declared_type(target: type, name: str) -> Any:
    import typing

    return typing.get_type_hints(target)[name]


def _is_sequence(annotation: Any) -> bool:
    import typing

    return typing.get_origin(annotation) in (tuple, list)


def has_options(target: type) -> bool:
    return dataclasses.is_dataclass(target)


def options_of(instance: Any) -> dict[str, Any]:
    """The options by name, those that came later only where they are set."""
    from pydantic import TypeAdapter

    return {
        f.name: TypeAdapter(Any).dump_python(getattr(instance, f.name), mode="json")
        for f in dataclasses.fields(instance)
        if not (f.metadata.get(_LATER) and getattr(instance, f.name) == f.default)
    }


def typed_options(target: type, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: convert(value, declared_type(target, name), where=name)
        for name, value in options.items()
    }

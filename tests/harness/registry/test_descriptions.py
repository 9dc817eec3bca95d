"""What a component says of itself: its docstrings, taken apart into a text and options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from harness.options import Count, Share, convert, declared_types
from harness.plugins import PluginHost
from harness.registry.components import Component
from harness.registry.descriptions import REQUIRED, Option, describe

EVERY = [
    pytest.param(component, id=f"{component.kind}-{component.name}")
    for components in PluginHost.discover().registry.components.values()
    for component in components.values()
]


@dataclass(frozen=True)
class Training:
    """Of a short run: its length and rate.

    steps: of the run; rate: at its start, falls
        as a line. batch, accumulate: rows: a pass
    and passes an update.

    A note: `batch` is what matters.
    """

    steps: Count = 3
    rate: float = 1e-3
    batch: int = 8
    accumulate: int = 2


@dataclass(frozen=True)
class Bare(Training):
    rate: float = 1e-4


@dataclass(frozen=True)
class Method(Bare):
    """A method.

    path: of a file, or `steps: 3` in it.
    steps: more than elsewhere.
    how, share and names: what they say.
    """

    path: str = field(kw_only=True)
    how: Literal["slow", "fast"] = "slow"
    share: Share = 0.5
    names: tuple[str, ...] = field(default_factory=lambda: ("a", "b"))
    silent: bool = False


def options() -> dict[str, Option]:
    return {o.name: o for chapter in describe(Method) for o in chapter.options}


def test_each_option_has_its_text_from_the_nearest_class_that_tells_of_it() -> None:
    assert {name: option.text for name, option in options().items()} == {
        "path": "of a file, or `steps: 3` in it.",
        "steps": "more than elsewhere.",
        "how": "what they say.",
        "share": "what they say.",
        "names": "what they say.",
        "silent": "",
        "rate": "at its start, falls as a line.",
        "batch": "rows: a pass and passes an update.",
        "accumulate": "rows: a pass and passes an update.",
    }


def test_the_rest_of_a_docstring_heads_the_options_that_it_tells_of() -> None:
    own, inherited = describe(Method)
    assert own.about == "A method."
    assert [o.name for o in own.options] == ["steps", "path", "how", "share", "names", "silent"]
    assert inherited.about == (
        "Of a short run: its length and rate.\n\nA note: `batch` is what matters."
    )
    assert [o.name for o in inherited.options] == ["rate", "batch", "accumulate"]


def test_types_bounds_values_and_defaults_are_those_of_the_fields() -> None:
    told = options()
    assert told["path"].default == REQUIRED
    assert told["rate"].default == 1e-4
    assert told["names"].default == ("a", "b")
    assert told["how"].type.values == ("slow", "fast")
    assert told["share"].type.bound == "at least 0 and at most 1"


def test_a_class_without_options_or_text_has_nothing_to_say() -> None:
    class Plain:
        pass

    assert describe(Plain) == ()


@pytest.mark.parametrize("component", EVERY)
def test_every_option_of_every_component_has_a_text(component: Component) -> None:
    told = [o for chapter in describe(component.load()) for o in chapter.options]
    assert [o.name for o in told if not o.text.strip(".")] == []


@pytest.mark.parametrize("component", EVERY)
def test_every_default_is_within_the_bounds_of_its_option(component: Component) -> None:
    target = component.load()
    for option in (o for chapter in describe(target) for o in chapter.options):
        convert(option.default, declared_types(target)[option.name], where=option.name)

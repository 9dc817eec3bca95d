"""Components: options are the fields of a dataclass, typed, complete and part of the identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from harness.errors import ContractError, MissingDependencyError, UsageError
from harness.options import convert, later_option
from harness.registry.components import Component, resolve


@dataclass(frozen=True)
class Thing:
    path: str = ""
    size: int = 3
    rate: float = 0.5
    on: bool = True
    how: Literal["fast", "slow"] = "fast"
    columns: tuple[str, ...] = ()
    limits: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("size cannot be negative")


class Plain:
    pass


def component(target: Any = Thing, **details: Any) -> Component:
    return Component("task", "thing", target, "", "plug", "dist 1", "7", **details)


def test_defaults_are_part_of_the_identity() -> None:
    assert resolve(component(), "", {}).identity == {
        "name": "thing",
        "version": "7",
        "options": {
            "path": "", "size": 3, "rate": 0.5, "on": True, "how": "fast", "columns": [],
            "limits": {},
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("size", "12", 12),
        ("rate", "1e-3", 1e-3),
        ("on", "false", False),
        ("how", "slow", "slow"),
        ("columns", "a, b", ("a", "b")),
        ("limits", {"a": 1}, {"a": 1}),
    ],
)
def test_text_becomes_the_declared_type(name: str, text: Any, value: Any) -> None:
    assert getattr(resolve(component(), "", {name: text}).instance, name) == value


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"sise": "1"}, "has no option 'sise'"),
        ({"size": "many"}, "thing.size = 'many'"),
        ({"how": "quick"}, "thing.how = 'quick'"),
        ({"size": "-1"}, "size cannot be negative"),
    ],
)
def test_a_wrong_option_is_one_clear_error(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        resolve(component(), "", options)


def test_the_text_after_the_colon_sets_the_argument() -> None:
    choice = resolve(component(argument="path"), "a/b.jsonl", {})
    assert choice.instance.path == "a/b.jsonl"
    assert choice.label == "thing:a/b.jsonl"
    with pytest.raises(UsageError, match="takes nothing after the colon"):
        resolve(component(), "x", {})


def test_an_option_that_came_later_changes_no_key_until_it_is_set() -> None:
    @dataclass(frozen=True)
    class Before:
        size: int = 3

    @dataclass(frozen=True)
    class After:
        size: int = 3
        pool: int = later_option(0)

    before = resolve(component(Before), "", {}).identity
    assert resolve(component(After), "", {}).identity == before
    assert resolve(component(After), "", {"pool": "0"}).identity == before
    limited = resolve(component(After), "", {"pool": "5"})
    assert limited.identity["options"] == {"size": 3, "pool": 5}
    assert limited.instance == After(pool=5)


def test_equal_requests_have_equal_identities_however_they_were_written() -> None:
    written = resolve(component(), "", {"rate": "0.50", "size": 3})
    assert written.identity == resolve(component(), "", {}).identity


def test_a_fingerprint_is_part_of_the_identity() -> None:
    class Weighted:
        def fingerprint(self) -> str:
            return "sha256:abc"

    assert resolve(component(Weighted), "", {}).identity["fingerprint"] == "sha256:abc"


def test_a_class_without_options() -> None:
    choice = resolve(component(Plain), "", {})
    assert isinstance(choice.instance, Plain)
    with pytest.raises(UsageError, match="no option 'a'"):
        resolve(component(Plain), "", {"a": 1})


def test_a_lazy_target_that_is_not_there() -> None:
    with pytest.raises(MissingDependencyError, match="needs the package 'no_such_package'"):
        component("no_such_package.module:Thing").load()
    with pytest.raises(ContractError, match="an attribute of harness"):
        component("harness:NoSuchThing").load()


def test_conversion_names_the_place() -> None:
    with pytest.raises(UsageError, match=r"recipe\.steps = 'x'"):
        convert("x", int, where="recipe.steps")

"""`harness show NAME`: a component and its options, as a list that fits where it is read."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import showing

PLUGIN = '''
from dataclasses import dataclass
from typing import Literal

from harness.hookspecs import hookimpl
from harness.options import Count, Share


@dataclass(frozen=True)
class Base:
    """Of the [bold]base[/bold] class :smile: alone.

    depth, share: of a tree, and what is kept of it.
    """

    depth: Count = 3
    share: Share = 0.25


@dataclass(frozen=True)
class Method(Base):
    """Chooses rows.

    With a formula,

        sum over t of
            w_t

    and a text that is so long that no terminal of eighty columns has room for it on one line.

    source: a student such as smollm2:135m-gguf, or [red]a list[/red] of several students.
    how: `fast`, or `slow`.
    separator: between two.
    """

    source: str = ""
    how: Literal["fast", "slow"] = "fast"
    separator: str = "\\n"
    names: tuple[str, ...] = ("a", "b")
    on: bool = False
    unbounded: "int | None" = None


@hookimpl
def harness_register_distillers(register):
    register("method", Method, version="7", summary="Chooses.", argument="source",
             variants=("x", "y"), produces="selection")
'''

AT_80 = """\
distiller method (version 7, {origin})

Chooses rows.

With a formula,

    sum over t of
        w_t

and a text that is so long that no terminal of eighty columns has room for it on
one line.

  source     text, known: x, y; written method:SOURCE; default empty
             a student such as smollm2:135m-gguf, or [red]a list[/red] of
             several students.
  how        fast or slow; default fast
             `fast`, or `slow`.
  separator  text; default '\\n'
             between two.
  names      list of texts; default a, b
  on         yes or no; default no
  unbounded  whole number or none; default none

Of the [bold]base[/bold] class :smile: alone.

  depth      whole number, at least 1; default 3
  share      number, at least 0 and at most 1; default 0.25
             depth, share: of a tree, and what is kept of it.
"""


@pytest.fixture
def plugin(tmp_path: Path) -> list[str]:
    path = tmp_path / "method_plugin.py"
    path.write_text(PLUGIN)
    return [str(path)]


def shown(monkeypatch: pytest.MonkeyPatch, plugin: list[str], width: int) -> str:
    written = io.StringIO()
    console = Console(width=width, file=written, markup=False, emoji=False, highlight=False)
    monkeypatch.setattr(showing, "data_console", lambda: console)
    showing.show("method", plugin)
    return written.getvalue()


def test_the_list_is_aligned_and_as_wide_as_the_terminal(
    monkeypatch: pytest.MonkeyPatch, plugin: list[str]
) -> None:
    text = shown(monkeypatch, plugin, 80)
    origin = text.partition("version 7, ")[2].partition(")")[0]
    assert text == AT_80.format(origin=origin)


def test_a_wide_terminal_gets_no_wider_lines_than_can_be_read(
    monkeypatch: pytest.MonkeyPatch, plugin: list[str]
) -> None:
    lines = shown(monkeypatch, plugin, 300).splitlines()
    assert 80 < max(map(len, lines)) <= 100


def test_a_pipe_gets_plain_text_and_no_markup_is_read(
    plugin: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    showing.show("method", plugin)
    text = capsys.readouterr().out
    assert "[bold]base[/bold] class :smile: alone" in text
    assert "[red]a list[/red]" in text
    assert "\x1b" not in text


def test_programs_get_the_same_facts(plugin: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    showing.show("method", plugin, json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["argument"], told["variants"]) == ("source", ["x", "y"])
    options = {option.pop("option"): option for option in told["options"]}
    assert options["share"] == {
        "type": "a number", "values": [], "bound": "at least 0 and at most 1", "default": 0.25,
        "text": "of a tree, and what is kept of it.",
    }  # fmt: skip
    assert options["how"]["values"] == ["fast", "slow"]
    assert options["names"]["default"] == ["a", "b"]

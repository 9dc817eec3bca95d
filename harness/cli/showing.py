"""`show`: a component with its options, a suite, or a record."""

from __future__ import annotations

import dataclasses
import os
import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.console import data_console, print_json
from harness.cli.options import AsJson, Plugin
from harness.errors import UsageError, unknown_name
from harness.plugins import PluginHost

if TYPE_CHECKING:
    from rich.text import Text

    from harness.registry.components import Component
    from harness.registry.descriptions import Option

_WIDEST = 100
_INDENT = 2


def show(
    name: Annotated[str, typer.Argument(help="A component, a suite, or a record's path.")],
    plugin: Plugin = None,
    json: AsJson = False,
) -> None:
    """Show a component's options, a suite's protocol, or a record."""
    host = PluginHost.discover(plugin or [])
    if name.endswith(".json"):
        _show_record(Path(name))
        return
    from harness.planning.request import find_suite

    if name in host.registry.suites or name.endswith(".toml"):
        print_json(dataclasses.asdict(find_suite(host, name)))
        return
    found = [c for kinds in host.registry.components.values() for c in kinds.values()]
    matching = [c for c in found if c.name == name.partition(":")[0]]
    if not matching:
        names = {c.name for c in found} | set(host.registry.suites)
        raise unknown_name("component or suite", name, names)
    for number, component in enumerate(matching):
        if json:
            print_json(_as_json(component))
            continue
        if number:
            typer.echo()
        _print_component(component)


def _as_json(component: Component) -> dict[str, Any]:
    from harness.registry.descriptions import describe

    chapters = describe(component.load())
    return {
        "kind": component.kind,
        "name": component.name,
        "version": component.version,
        "plugin": component.plugin,
        "about": "\n\n".join(c.about for c in chapters if c.about) or component.summary,
        "argument": component.argument,
        "variants": component.variants,
        "options": [
            {
                "option": option.name,
                "type": option.type.kind,
                "values": option.type.values,
                "bound": option.type.bound,
                "default": option.default,
                "text": option.text,
            }
            for chapter in chapters
            for option in chapter.options
        ],
    }


def _print_component(component: Component) -> None:
    from harness.registry.descriptions import describe

    console = data_console()
    width = min(console.width, _WIDEST)
    chapters = describe(component.load())
    names = [option.name for chapter in chapters for option in chapter.options]
    column = _INDENT + max(map(len, names), default=0) + _INDENT
    console.print(f"{component.kind} {component.name} (version {component.version},"
                  f" {component.distribution})", style="bold", soft_wrap=True)  # fmt: skip
    for chapter in chapters:
        for paragraph in filter(None, chapter.about.split("\n\n")):
            console.print("", *_filled(paragraph, width), sep="\n", soft_wrap=True)
        for number, line in enumerate(_listed(component, chapter.options, column, width)):
            console.print(*["", line][number > 0 :], sep="\n", soft_wrap=True)


def _filled(paragraph: str, width: int) -> list[str]:
    """Lines as long as there is room for; those of a formula, which is indented, stay."""
    if paragraph.startswith(" "):
        return paragraph.split("\n")
    return textwrap.wrap(paragraph, width, break_on_hyphens=False)


def _listed(
    component: Component, options: Iterable[Option], column: int, width: int
) -> Iterator[Text]:
    """Each option with its facts, then its text, or one that several share."""
    from rich.text import Text

    margin = " " * column
    for text, alike in groupby(options, lambda option: option.text):
        sharing = list(alike)
        for option in sharing:
            first, *others = _filled(_facts(component, option), width - column)
            yield Text.assemble((f"{'':{_INDENT}}{option.name}".ljust(column), "bold"), first)
            yield from (Text(margin + line) for line in others)
        names = f"{', '.join(option.name for option in sharing)}: " if len(sharing) > 1 else ""
        for line in _filled(names + text, width - column) if text else ():
            yield Text(margin + line, style="dim")


def _facts(component: Component, option: Option) -> str:
    facts = str(option.type).removeprefix("a ")
    if option.name == component.argument:
        known = f", known: {', '.join(component.variants)}" if component.variants else ""
        facts += f"{known}; written {component.name}:{option.name.upper()}"
    return f"{facts}; default {_shown(option.default)}"


def _shown(default: Any) -> str:
    """A value as it would be written on the command line."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if default is None or default in ("", ()):
        return "none" if default is None else "empty"
    if isinstance(default, tuple | list):
        return ", ".join(map(_shown, default))
    text = str(default)
    return text if text.isprintable() and text.strip(" ,") == text else repr(text)


def _show_record(path: Path) -> None:
    import json

    from harness.records.record import Record

    if not os.access(path, os.R_OK):
        raise UsageError(f"record '{path}' cannot be read")
    print_json(json.loads(Record.from_json(path.read_bytes(), where=str(path)).to_json()))

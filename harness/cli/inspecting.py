"""`ls`, `show`, `plugins` and `doctor`: what is there, and does it work."""

from __future__ import annotations

import dataclasses
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.console import data_console, print_json, shown_progress
from harness.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from harness.plugins import PluginHost
    from harness.registry.components import Component

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Plugin = Annotated[
    list[str] | None, typer.Option("--plugin", help="A module, or a one-file plugin's path.")
]
_KINDS = ("task", "distiller", "student", "evaluator", "suite", "executor", "format")


def ls(
    kind: Annotated[str, typer.Argument(metavar="[KIND]", help=", ".join(_KINDS))] = "",
    plugin: Plugin = None,
    json: AsJson = False,
) -> None:
    """List what can be named: tasks, distillers, students, evaluators, suites and more."""
    from rich.table import Table

    wanted = kind.removesuffix("s")
    if wanted and wanted not in _KINDS:
        raise unknown_name("kind", kind, _KINDS)
    rows = [row for row in _listing(_host(plugin)) if wanted in ("", row["kind"])]
    if json:
        print_json(rows)
        return
    table = Table("kind", "name", "variants", "summary", "plugin")
    for row in rows:
        table.add_row(
            *(row[column] for column in ("kind", "name", "variants", "summary", "plugin"))
        )
    data_console().print(table)


def show(
    name: Annotated[str, typer.Argument(help="A component, a suite, or a record's path.")],
    plugin: Plugin = None,
    json: AsJson = False,
) -> None:
    """Show a component's options, a suite's protocol, or a record."""
    host = _host(plugin)
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
    for component in matching:
        _show_component(component, json=json)


def plugins(plugin: Plugin = None, json: AsJson = False) -> None:
    """List the plugins, with what each offers, and those that were refused."""
    from rich.table import Table

    host = _host(plugin)
    offered: dict[str, list[str]] = {name: [] for name in host.sources}
    for components in host.registry.components.values():
        for component in components.values():
            offered[component.plugin].append(f"{component.kind} {component.name}")
    if json:
        print_json(
            {
                "loaded": [
                    {
                        "name": s.name,
                        "distribution": s.shown_distribution,
                        "offers": offered[s.name],
                    }
                    for s in host.sources.values()
                ],
                "broken": [
                    {"name": b.name, "distribution": b.distribution, "reason": b.reason}
                    for b in host.broken
                ],
            }
        )
        return
    table = Table("plugin", "distribution", "offers")
    for source in host.sources.values():
        table.add_row(source.name, source.shown_distribution, ", ".join(offered[source.name]))
    for broken in host.broken:
        table.add_row(f"[red]{broken.name}[/]", broken.distribution, f"refused: {broken.reason}")
    data_console().print(table)


def doctor(
    data_dir: Annotated[Path | None, typer.Option("--data-dir", envvar="HARNESS_DATA")] = None,
    json: AsJson = False,
) -> None:
    """Check this installation: packages, device, plugins, and which tasks have their data."""
    from rich.table import Table

    from harness.cli.diagnosis import diagnose

    with shown_progress() as progress:
        findings = diagnose(_host(None), data_dir, progress)
    if json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        table = Table("check", "state", "detail")
        for finding in findings:
            colour = {"ok": "green", "missing": "yellow", "broken": "red"}[finding.state]
            table.add_row(finding.check, f"[{colour}]{finding.state}[/]", finding.detail)
        data_console().print(table)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def _host(extra: list[str] | None) -> PluginHost:
    from harness.plugins import PluginHost

    return PluginHost.discover(extra or [])


def _listing(host: PluginHost) -> list[dict[str, str]]:
    rows = [
        {
            "kind": component.kind,
            "name": f"{component.name}:{component.argument.upper()}"
            if component.argument and not component.variants
            else component.name,
            "variants": ", ".join(component.variants),
            "summary": component.summary,
            "plugin": component.plugin,
            "distribution": component.distribution,
        }
        for components in host.registry.components.values()
        for component in components.values()
    ]
    from harness.suite import load_suite

    for name, path in host.registry.suites.items():
        try:
            summary = load_suite(path).summary
        except UsageError as error:
            summary = f"cannot be read: {error.message}"
        rows.append({"kind": "suite", "name": name, "variants": "", "summary": summary,
                     "plugin": "", "distribution": ""})  # fmt: skip
    return sorted(rows, key=lambda row: (_KINDS.index(row["kind"]), row["name"]))


def _show_component(component: Component, *, json: bool) -> None:
    from rich.table import Table

    target = component.load()
    options = (
        [{"option": f.name, "type": str(f.type), "default": _default(f)}
         for f in dataclasses.fields(target)]
        if dataclasses.is_dataclass(target)
        else []
    )  # fmt: skip
    about = "\n\n".join(_documentation(target)) or component.summary
    if json:
        print_json(
            {
                "kind": component.kind,
                "name": component.name,
                "version": component.version,
                "plugin": component.plugin,
                "about": about,
                "options": options,
            }
        )
        return
    console = data_console()
    console.print(f"{component.kind} {component.name} (version {component.version},"
                  f" {component.distribution})\n", style="bold", markup=False)  # fmt: skip
    console.print(about + "\n", markup=False)
    table = Table("option", "type", "default")
    for option in options:
        table.add_row(option["option"], option["type"], str(option["default"]))
    if options:
        console.print(table)


def _documentation(target: Any) -> list[str]:
    """A component's own text and those of the options that it inherits."""
    classes = [c for c in inspect.getmro(target) if c is target or dataclasses.is_dataclass(c)]
    written = [c.__doc__ or "" for c in classes if "__doc__" in vars(c)]
    # Of a dataclass without a text `dataclass` makes one: its name and signature.
    signatures = tuple(f"{c.__name__}(" for c in classes)
    return [inspect.cleandoc(text) for text in written if text and not text.startswith(signatures)]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return "required"


def _show_record(path: Path) -> None:
    import json

    from harness.records.record import Record

    if not os.access(path, os.R_OK):
        raise UsageError(f"record '{path}' cannot be read")
    print_json(json.loads(Record.from_json(path.read_bytes(), where=str(path)).to_json()))

"""`ls`, `plugins` and `doctor`: what is there, and does it work."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from harness.cli.console import data_console, print_json, shown_progress
from harness.cli.options import AsJson, DataDir, Plugin
from harness.errors import UsageError, unknown_name
from harness.plugins import PluginHost

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
    host = PluginHost.discover(plugin or [])
    rows = [row for row in _listing(host) if wanted in ("", row["kind"])]
    if json:
        print_json(rows)
        return
    table = Table("kind", "name", "variants", "summary", "plugin")
    for row in rows:
        table.add_row(
            *(row[column] for column in ("kind", "name", "variants", "summary", "plugin"))
        )
    data_console().print(table)


def plugins(plugin: Plugin = None, json: AsJson = False) -> None:
    """List the plugins, with what each offers, and those that were refused."""
    from rich.table import Table
    from rich.text import Text

    host = PluginHost.discover(plugin or [])
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
        table.add_row(Text(broken.name, "red"), broken.distribution, f"refused: {broken.reason}")
    data_console().print(table)


def doctor(
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Check this installation: packages, device, plugins, and which tasks have their data."""
    from rich.table import Table
    from rich.text import Text

    from harness.cli.diagnosis import diagnose

    with shown_progress() as progress:
        findings = diagnose(PluginHost.discover(), data_dir, progress)
    if json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        table = Table("check", "state", "detail")
        for finding in findings:
            colour = {"ok": "green", "missing": "yellow", "broken": "red"}[finding.state]
            table.add_row(finding.check, Text(finding.state, colour), finding.detail)
        data_console().print(table)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


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

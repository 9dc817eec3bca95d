"""Requests: a suite, what replaces its own parts, and where data and results lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import unknown_name
from harness.plugins import PluginHost
from harness.protocols import ForModalities
from harness.registry.components import Kind
from harness.registry.specs import ComponentSpec
from harness.suite import DEFAULT_OUTPUT, DEFAULT_SUITE, Suite, load_suite, with_settings


@dataclass(frozen=True)
class Request:
    """One request, as the command line and the Python interface make it.

    suite: a registered name, the path of a TOML file, or a `Suite`; None takes the one for the
    modality of what is named, see `default_suite`.
    distillers, students, tasks, evaluators, budgets: instead of the suite's.
    seeds: instead of its distilling seeds.
    settings: changes such as `"distiller.dilm.match_steps=100"`.
    data_dir: a folder with one folder a task; the variable HARNESS_DATA when None.
    output: the results folder; `runs/SUITE` when None.
    plugins: further plugin modules, or paths of one-file plugins.
    """

    suite: str | Path | Suite | None = None
    distillers: Sequence[str] = ()
    students: Sequence[str] = ()
    tasks: Sequence[str] = ()
    evaluators: Sequence[str] = ()
    budgets: Sequence[str] = ()
    seeds: Sequence[int] = ()
    settings: Sequence[str] = ()
    data_dir: str | Path | None = None
    output: str | Path | None = None
    plugins: Sequence[str] = ()

    def chosen_suite(self, host: PluginHost) -> Suite:
        """The suite with the parts that this request replaces.

        Raises:
            UsageError: the suite is unknown or malformed, or a setting has no such key.
        """
        match self.suite:
            case Suite() as suite:
                pass
            case None:
                suite = default_suite(self, host)
            case name:
                suite = find_suite(host, name)
        changed = replace(
            suite,
            distillers=tuple(self.distillers) or suite.distillers,
            students=tuple(self.students) or suite.students,
            tasks=tuple(self.tasks) or suite.tasks,
            evaluators=tuple(self.evaluators) or suite.evaluators,
            budgets=tuple(self.budgets) or suite.budgets,
            distill_seeds=tuple(self.seeds) or suite.distill_seeds,
        )
        return with_settings(changed, self.settings)

    def output_of(self, suite: Suite) -> Path:
        """The results folder."""
        return DEFAULT_OUTPUT / suite.name if self.output is None else Path(self.output)


def find_suite(host: PluginHost, name: str | Path) -> Suite:
    """A suite by registered name, or by the path of a TOML file.

    Raises:
        UsageError: it is unknown or malformed.
    """
    text = str(name)
    if text in host.registry.suites:
        return load_suite(host.registry.suites[text])
    if text.endswith(".toml"):
        return load_suite(Path(name))
    raise unknown_name("suite", text, host.registry.suites)


def default_suite(request: Request, host: PluginHost) -> Suite:
    """The suite that is the default for the modality that all named parts are for.

    Students, tasks, evaluators and distillers may declare `modalities`. Where none does, or no
    suite is the default for one that all have in common, it is `quickstart`.

    Raises:
        UsageError: a name that is unknown.
    """
    named: dict[Kind, Sequence[str]] = {
        "student": request.students,
        "task": request.tasks,
        "evaluator": request.evaluators,
        "distiller": request.distillers,
    }
    classes = [
        host.registry.find(kind, ComponentSpec.parse(text).name).load()
        for kind, names in named.items()
        for text in names
    ]
    declared = [set(found.modalities) for found in classes if isinstance(found, ForModalities)]
    suites = (load_suite(path) for path in host.registry.suites.values()) if declared else ()
    for suite in suites:
        if all(suite.default_for in modalities for modalities in declared):
            return suite
    return find_suite(host, DEFAULT_SUITE)

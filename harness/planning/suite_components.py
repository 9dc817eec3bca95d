"""A suite's components, found in the registry and given the suite's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.data.sources import DataLocator
from harness.errors import UsageError, did_you_mean
from harness.plan import LoadedTask
from harness.plugins import PluginHost
from harness.protocols import UsesStudents
from harness.registry.components import ConfiguredComponent, Kind, option_names, resolve
from harness.registry.contracts import check_task
from harness.suite import Suite

PROXY_OPTION = "proxy"
TEACHER_OPTION = "teacher"


@dataclass(frozen=True)
class SuiteComponents:
    """A suite and the plugins that answer to its names."""

    suite: Suite
    host: PluginHost

    def task(self, text: str, locator: DataLocator) -> LoadedTask:
        """A task with its rows read and checked.

        Raises:
            UsageError: an unknown name or option, or rows that do not fit.
            MissingDependencyError: its data is not here.
            ContractError: it breaks its contract.
        """
        configured = self._configured("task", text)
        data = configured.instance.load(locator)
        check_task(configured.component, data)
        return LoadedTask(configured, data)

    def distiller(self, text: str) -> ConfiguredComponent:
        """A distiller, with the suite's proxy and teacher where it takes them and none was set."""
        proxy = self.suite.proxy or self.suite.students[0]
        defaults = {PROXY_OPTION: self.student(proxy).label}
        if self.suite.teacher:
            defaults[TEACHER_OPTION] = self.student(self.suite.teacher).label
        return self._configured("distiller", text, defaults)

    def student(self, text: str) -> ConfiguredComponent:
        """A student with the suite's variant and options."""
        return self._configured("student", text)

    def evaluator(self, text: str) -> ConfiguredComponent:
        return self._configured("evaluator", text)

    def identity(self, configured: ConfiguredComponent) -> dict[str, Any]:
        """A component's identity with those of the students that it builds on, if any."""
        part = configured.instance
        specs = part.uses_students if isinstance(part, UsesStudents) else ()
        students = [self.identity(self.student(spec)) for spec in specs]
        return {**configured.identity, "students": students} if students else configured.identity

    def looks_through(self, distiller: ConfiguredComponent) -> dict[str, Mapping[str, Any] | None]:
        """The identities of the models that a distiller uses besides the one it is for."""

        def identity(option: str) -> Mapping[str, Any] | None:
            spec = distiller.options.get(option)
            return self.student(spec).identity if spec else None

        teacher = identity(TEACHER_OPTION)
        return {"proxy": identity(PROXY_OPTION), **({"teacher": teacher} if teacher else {})}

    def check_settings(self) -> None:
        """Refuses settings that no component in use answers to.

        Raises:
            UsageError: an option or a name that is not there.
        """
        suite = self.suite
        used: dict[Kind, Sequence[str]] = {
            "task": suite.tasks,
            "distiller": suite.chosen_distillers(),
            "student": (*suite.students, *filter(None, (suite.proxy, suite.teacher))),
            "evaluator": suite.evaluators,
        }
        for kind, table in suite.settings.items():
            names = [suite.spec_of(kind, text).name for text in used[kind]]
            options = [option_names(self.host.registry.find(kind, name)) for name in names]
            known = {option for own in options for option in own}
            for option in table.get("", {}):
                if option not in known:
                    raise UsageError(
                        f"no {kind} of this run has an option '{option}'",
                        hint=did_you_mean(option, known),
                    )
            for name in filter(None, table):
                self.host.registry.find(kind, name)

    def _configured(
        self, kind: Kind, text: str, defaults: Mapping[str, str] | None = None
    ) -> ConfiguredComponent:
        spec = self.suite.spec_of(kind, text)
        if spec.options and kind != "distiller":
            raise UsageError(
                f"{kind} '{text}' has options in brackets, which only distillers take",
                hint=f"Write --set {kind}.{spec.name}.OPTION=VALUE.",
            )
        component = self.host.registry.find(kind, spec.name)
        known = option_names(component)
        options = {name: value for name, value in (defaults or {}).items() if name in known}
        options |= self.suite.options_for(kind, spec.name, known)
        return resolve(component, spec.argument, {**options, **spec.options})

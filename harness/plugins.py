"""The plugin host: finds, loads and isolates plugins; a broken one costs one line."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from harness import hookspecs
from harness.errors import UsageError
from harness.registry.components import Component, DistillerComponent, Kind, Registry

GROUP = "harness"
ALLOW_VARIABLE = "HARNESS_PLUGINS"
DENY_VARIABLE = "HARNESS_DISABLE_PLUGINS"
CORE = "core"
_OWN_DISTRIBUTION = "distill-harness"
_REGISTER_HOOKS: dict[str, Kind] = {
    "harness_register_tasks": "task",
    "harness_register_distillers": "distiller",
    "harness_register_students": "student",
    "harness_register_evaluators": "evaluator",
    "harness_register_executors": "executor",
    "harness_register_leaderboard_formats": "format",
}


@dataclass(frozen=True)
class PluginSource:
    """Where a plugin comes from. `version` is the default version of what it registers."""

    name: str
    distribution: str
    version: str
    load: Callable[[], Any]

    @property
    def shown_distribution(self) -> str:
        return f"{self.distribution} {self.version}".strip()


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that was refused, with the reason in one line and what to do."""

    name: str
    distribution: str
    reason: str
    trace: str = ""

    @property
    def hint(self) -> str:
        if self.distribution and self.distribution != _OWN_DISTRIBUTION:
            remedy = f"pip uninstall {self.distribution}"
        else:
            remedy = "mend it"
        return f"{remedy}, or set {DENY_VARIABLE}={self.name} to go without it"


class PluginHost:
    """The loaded plugins, what they registered, and those that were refused."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.registry = Registry()
        self.sources: dict[str, PluginSource] = {}
        self.broken: list[BrokenPlugin] = []

    @classmethod
    def discover(cls, extra: Sequence[str] = ()) -> PluginHost:
        """Loads every installed plugin that the environment allows, then the `extra` modules.

        Args:
            extra: module names, or paths of one-file plugins.

        Raises:
            UsageError: an extra plugin, which was asked for by name, was refused.
        """
        host = cls()
        for source in installed_plugins():
            host.add(source)
        for module in extra:
            refused_before = len(host.broken)
            host.add(_module_source(module))
            for broken in host.broken[refused_before:]:
                raise UsageError(f"plugin '{module}' was refused: {broken.reason}")
        return host

    def add(self, source: PluginSource) -> None:
        """Loads and registers one plugin, or notes why it was refused; all or nothing."""
        taken = self.sources.get(source.name)
        if taken is not None:
            self._refuse(source, f"the plugin name is taken by {taken.shown_distribution}")
            return
        try:
            module = source.load()
            _check_api(module)
            self.manager.register(module, name=source.name)
            self.manager.check_pending()
            staged = self._collect(source, module)
        except (Exception, SystemExit) as error:
            self._unregister(source.name)
            self._refuse(source, _one_line(error), traceback.format_exc())
            return
        self._commit(staged)
        self.sources[source.name] = source

    def notify(self, hook: str, on_error: Callable[[str], None], **event: Any) -> None:
        """Calls an observer hook plugin by plugin; an exception is reported and goes no further."""
        for name, call in self._callers(hook):
            try:
                call(**event)
            except Exception as error:
                on_error(f"plugin '{name}' failed in {hook}: {_one_line(error)}")

    def gather(
        self,
        hook: str,
        on_error: Callable[[str], None],
        *,
        let_through: tuple[type[Exception], ...] = (),
        **arguments: Any,
    ) -> list[Any]:
        """Results of a hook from every plugin that answers; a failing one is reported.

        Errors of the types in `let_through` are the plugin's answer and are raised.
        """
        results: list[Any] = []
        for name, call in self._callers(hook):
            try:
                results.extend(call(**arguments))
            except let_through:
                raise
            except Exception as error:
                on_error(f"plugin '{name}' failed in {hook}: {_one_line(error)}")
        return results

    def _callers(self, hook: str) -> Iterator[tuple[str, Callable[..., list[Any]]]]:
        plugins = dict(self.manager.list_name_plugin())
        implementers = {
            impl.plugin_name for impl in getattr(self.manager.hook, hook).get_hookimpls()
        }
        for name in self.sources:
            if name in implementers:
                others = [plugin for other, plugin in plugins.items() if other != name]
                yield name, self.manager.subset_hook_caller(hook, remove_plugins=others)

    def _collect(self, source: PluginSource, module: ModuleType) -> Registry:
        staged = Registry()
        others = [p for _, p in self.manager.list_name_plugin() if p is not module]
        for hook, kind in _REGISTER_HOOKS.items():
            call = self.manager.subset_hook_caller(hook, remove_plugins=others)
            call(register=_registrar(source, kind, staged))
        suites = self.manager.subset_hook_caller("harness_register_suites", remove_plugins=others)
        suites(register=lambda path: staged.suites.update({Path(path).stem: Path(path)}))
        self._check_names(staged)
        return staged

    def _check_names(self, staged: Registry) -> None:
        for kind, components in staged.components.items():
            for name in components:
                holder = self.registry.of(kind).get(name)
                if holder is not None:
                    raise UsageError(
                        f"the {kind} name '{name}' is taken by plugin '{holder.plugin}'"
                    )
        for name in staged.suites:
            if name in self.registry.suites:
                raise UsageError(f"the suite name '{name}' is taken")

    def _commit(self, staged: Registry) -> None:
        for kind, components in staged.components.items():
            self.registry.of(kind).update(components)
        self.registry.suites.update(staged.suites)

    def _unregister(self, name: str) -> None:
        if self.manager.has_plugin(name):
            self.manager.unregister(name=name)

    def _refuse(self, source: PluginSource, reason: str, trace: str = "") -> None:
        self.broken.append(BrokenPlugin(source.name, source.distribution, reason, trace))


def installed_plugins() -> list[PluginSource]:
    """Entry points of the group, the project's own first, filtered by the two variables."""
    allowed = _names(ALLOW_VARIABLE)
    denied = _names(DENY_VARIABLE) or set()
    sources = [_entry_point_source(entry) for entry in importlib.metadata.entry_points(group=GROUP)]
    sources.sort(key=lambda s: (s.distribution != _OWN_DISTRIBUTION, s.name != CORE, s.name))
    return [
        source
        for source in sources
        if source.name == CORE
        or (source.name not in denied and (allowed is None or source.name in allowed))
    ]


def _entry_point_source(entry: importlib.metadata.EntryPoint) -> PluginSource:
    distribution = entry.dist.name if entry.dist else ""
    version = entry.dist.version if entry.dist else ""
    return PluginSource(entry.name, distribution, version, entry.load)


def _module_source(module: str) -> PluginSource:
    path = Path(module)
    if path.suffix == ".py":
        if not path.is_file():
            raise UsageError(f"plugin file '{module}' does not exist")
        content = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        return PluginSource(path.stem, "", f"file-{content}", lambda: _load_file(path))
    return PluginSource(module, "", "", lambda: importlib.import_module(module))


def _load_file(path: Path) -> ModuleType:
    name = f"harness_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _registrar(source: PluginSource, kind: Kind, staged: Registry) -> Callable[..., None]:
    make = DistillerComponent if kind == "distiller" else Component

    def register(name: str, target: str | type, *, summary: str, **details: Any) -> None:
        if name in staged.of(kind):
            raise UsageError(f"the {kind} name '{name}' is registered twice")
        if not name or any(c in name for c in ":,/\\ \n\t") or name.startswith((".", "-")):
            raise UsageError(f"{name!r} cannot be a {kind} name: no blanks, ':', ',' or slashes")
        details["version"] = details.get("version") or source.version
        staged.of(kind)[name] = make(
            kind=kind,
            name=name,
            target=target,
            summary=summary,
            plugin=source.name,
            distribution=source.shown_distribution,
            **details,
        )

    return register


def _check_api(module: Any) -> None:
    declared = getattr(module, "HARNESS_API", hookspecs.HARNESS_API)
    if declared != hookspecs.HARNESS_API:
        raise UsageError(
            f"it was written for plugin API {declared}, this is {hookspecs.HARNESS_API}"
        )


def _names(variable: str) -> set[str] | None:
    text = os.environ.get(variable)
    return None if text is None else {name.strip() for name in text.split(",") if name.strip()}


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

"""Plugin discovery: one broken plugin costs that plugin, and says so."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from harness import hookimpl
from harness.errors import UsageError
from harness.plugins import PluginHost, PluginSource
from toy_paths import TOY_PLUGIN


def plugin(**hooks: Any) -> ModuleType:
    module = ModuleType("a_plugin")
    for name, function in hooks.items():
        setattr(module, name, hookimpl(function))
    return module


def source(name: str, module: Any) -> PluginSource:
    def load() -> Any:
        if isinstance(module, Exception):
            raise module
        return module

    return PluginSource(name, f"dist-{name}", "1.0", load)


def offers(name: str) -> ModuleType:
    return plugin(
        harness_register_distillers=lambda register: register(
            name, "nowhere:Nothing", summary="", produces="selection"
        )
    )


def broken_by(module: Any) -> str:
    """Loads a good plugin, the given one, and another good one; returns the complaint."""
    host = PluginHost()
    host.add(source("before", offers("one")))
    host.add(source("bad", module))
    host.add(source("after", offers("two")))
    assert set(host.registry.of("distiller")) == {"one", "two"}
    (broken,) = host.broken
    assert (broken.name, broken.distribution) == ("bad", "dist-bad")
    assert "pip uninstall dist-bad" in broken.hint
    return broken.reason


def test_a_plugin_that_fails_at_import() -> None:
    assert "ImportError: no such thing" in broken_by(ImportError("no such thing"))


def test_a_misspelt_hook() -> None:
    reason = broken_by(plugin(harness_register_distilers=lambda register: None))
    assert "harness_register_distilers" in reason


def test_a_wrong_signature() -> None:
    reason = broken_by(plugin(harness_register_tasks=lambda registry: None))
    assert "registry" in reason


def test_the_name_of_another_plugins_distiller() -> None:
    reason = broken_by(offers("one"))
    assert "the distiller name 'one' is taken by plugin 'before'" in reason


def test_another_api_version() -> None:
    bad = offers("three")
    bad.HARNESS_API = 99  # type: ignore[attr-defined]
    assert "plugin API 99" in broken_by(bad)


def test_a_hook_that_raises_leaves_nothing_half_registered() -> None:
    def tasks(register: Any) -> None:
        register("half", "nowhere:Nothing", summary="")
        raise RuntimeError("in the middle")

    host = PluginHost()
    host.add(source("bad", plugin(harness_register_tasks=tasks)))
    assert "half" not in host.registry.of("task")
    assert "in the middle" in host.broken[0].reason


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a,b", "../x", "-x"])
def test_a_name_that_could_not_be_typed_or_would_become_a_path(name: str) -> None:
    assert "cannot be a distiller name" in broken_by(offers(name))


def test_two_distributions_with_one_plugin_name() -> None:
    host = PluginHost()
    host.add(source("same", offers("one")))
    host.add(source("same", offers("two")))
    assert "taken by dist-same 1.0" in host.broken[0].reason


def test_an_observer_that_raises_is_reported_and_goes_no_further() -> None:
    heard: list[str] = []

    def angry(record: Any) -> None:
        raise RuntimeError("angry")

    host = PluginHost()
    host.add(source("angry", plugin(harness_run_finished=angry)))
    host.add(source("calm", plugin(harness_run_finished=lambda record: heard.append(record))))
    complaints: list[str] = []
    host.notify("harness_run_finished", complaints.append, record="r")
    assert heard == ["r"]
    assert complaints == ["plugin 'angry' failed in harness_run_finished: RuntimeError: angry"]


def test_the_projects_own_plugins_are_found_by_their_entry_points() -> None:
    host = PluginHost.discover()
    assert host.broken == []
    assert {"core", "text", "coreset", "dilm", "suites"} <= set(host.sources)
    assert {"random", "full", "k-means", "dilm"} <= set(host.registry.of("distiller"))


def test_a_plugin_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DISABLE_PLUGINS", "dilm, suites")
    host = PluginHost.discover()
    assert not {"dilm", "suites"} & set(host.sources)
    assert "coreset" in host.sources


def test_only_some_plugins_can_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", "text")
    assert set(PluginHost.discover().sources) == {"core", "text"}


def test_a_one_file_plugin_takes_its_content_as_version() -> None:
    component = PluginHost.discover([TOY_PLUGIN]).registry.find("distiller", "first")
    assert component.version.startswith("file-")


def test_a_plugin_asked_for_by_name_that_is_broken_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"plugin 'no_such_module_at_all' was refused"):
        PluginHost.discover(["no_such_module_at_all"])
    with pytest.raises(UsageError, match=r"missing\.py' does not exist"):
        PluginHost.discover(["missing.py"])


def test_an_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(UsageError) as caught:
        PluginHost.discover().registry.find("distiller", "k-mean")
    assert "Did you mean k-means" in caught.value.hint

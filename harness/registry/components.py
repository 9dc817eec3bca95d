"""Registered components, and configured ones: with their options resolved."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from harness.errors import (
    ContractError,
    HarnessError,
    MissingDependencyError,
    UsageError,
    did_you_mean,
    unknown_name,
)
from harness.options import has_options, options_of, typed_options
from harness.protocols import Fingerprinted

Produces = Literal["selection", "synthesis", "arrays", "model"]
Kind = Literal["task", "distiller", "student", "evaluator", "executor", "format", "suite"]


@dataclass(frozen=True)
class Component:
    """One name on offer. `target` is a class, or a lazy `"module:attribute"`.

    version: raised by its author whenever results change; part of every key.
    argument: the option that the text after the colon in `NAME:TEXT` sets.
    variants: the known values of that option, for listings.
    """

    kind: Kind
    name: str
    target: str | type
    summary: str
    plugin: str
    distribution: str
    version: str
    argument: str = ""
    variants: tuple[str, ...] = ()

    def load(self) -> type:
        """The class behind the target.

        Raises:
            MissingDependencyError: the plugin needs a package that is not installed.
            ContractError: the target does not exist.
        """
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"{self.kind} '{self.name}' of plugin '{self.plugin}' needs the package"
                f" '{error.name}', which is not installed",
                hint=f"pip install {(error.name or '').partition('.')[0]}",
            ) from error
        except AttributeError as error:
            raise ContractError(
                plugin=f"plugin '{self.plugin}'",
                field=f"target of {self.kind} '{self.name}'",
                expected=f"an attribute of {module}",
                got=attribute,
            ) from error


@dataclass(frozen=True)
class DistillerComponent(Component):
    """A distiller's entry; the flags let the plan share and bound its work.

    produces: `selection` of train rows, `synthesis` of new ones, rows with `arrays` that it trains
    a student on itself, or a trained `model`.
    deterministic: the seed changes nothing, so one set serves all distilling seeds.
    fixed_budget: what it always returns, whatever the suite's budgets (`100%` for `full`). A
    model distiller trains on the whole train split unless it says otherwise.
    reference: its row stands beside those of the methods and has no rank.
    """

    produces: Produces = "synthesis"
    deterministic: bool = False
    fixed_budget: str = ""
    reference: bool = False

    @property
    def makes_model(self) -> bool:
        """Whether it trains the student itself instead of handing rows to it."""
        return self.produces == "model"


@dataclass(frozen=True)
class ConfiguredComponent:
    """A component with its options resolved, defaults included: what enters a key."""

    component: Component
    argument: str
    options: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The name as a board shows it, such as `bert:minilm`."""
        return f"{self.component.name}:{self.argument}" if self.argument else self.component.name

    @cached_property
    def instance(self) -> Any:
        """The component itself, built from its options at first use."""
        target = self.component.load()
        return target(**typed_options(target, self.options, where=self.component.name))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What distinguishes it in a key: name, version, options, external content."""
        identity = {
            "name": self.component.name,
            "version": self.component.version,
            "options": dict(self.options),
        }
        if isinstance(self.instance, Fingerprinted):
            identity["fingerprint"] = str(self.instance.fingerprint())
        return identity


def distiller_component(configured: ConfiguredComponent) -> DistillerComponent:
    """The registered entry of a distiller."""
    assert isinstance(configured.component, DistillerComponent)
    return configured.component


def resolve(
    component: Component, argument: str, overrides: Mapping[str, Any]
) -> ConfiguredComponent:
    """Fills in defaults, converts and checks option values.

    Raises:
        UsageError: an unknown option, or a value of the wrong type or out of its bounds.
    """
    target = component.load()
    known = {f.name: f for f in dataclasses.fields(target)} if has_options(target) else {}
    options = dict(overrides)
    if argument:
        if not component.argument:
            raise UsageError(
                f"{component.kind} '{component.name}' takes nothing after the colon,"
                f" got '{component.name}:{argument}'"
            )
        options[component.argument] = argument
    for name in options:
        if name not in known:
            raise UsageError(
                f"{component.kind} '{component.name}' has no option '{name}'",
                hint=did_you_mean(name, known),
            )
    built = _construct(component, target, typed_options(target, options, where=component.name))
    resolved = options_of(built) if known else {}
    shown = str(resolved[component.argument]) if component.argument else ""
    return ConfiguredComponent(component, shown, resolved)


def option_names(component: Component) -> tuple[str, ...]:
    """The names of a component's options."""
    target = component.load()
    return tuple(f.name for f in dataclasses.fields(target)) if has_options(target) else ()


def _construct(component: Component, target: type, values: Mapping[str, Any]) -> Any:
    try:
        return target(**values)
    except HarnessError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{component.kind} '{component.name}' refuses its options: {error}"
        ) from error


@dataclass
class Registry:
    """Everything on offer, by kind and name."""

    components: dict[Kind, dict[str, Component]] = field(default_factory=dict)
    suites: dict[str, Path] = field(default_factory=dict)

    def of(self, kind: Kind) -> dict[str, Component]:
        return self.components.setdefault(kind, {})

    def find(self, kind: Kind, name: str) -> Component:
        """One component by name.

        Raises:
            UsageError: the name is unknown; the message suggests close ones.
        """
        found = self.of(kind).get(name)
        if found is None:
            raise unknown_name(kind, name, self.of(kind))
        return found

"""Suites: the protocol as TOML, and the changes that a user makes to one."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.budget import Budget
from harness.errors import UsageError, did_you_mean
from harness.options import (
    Positive,
    PositiveShare,
    convert,
    declared_types,
    require_fields,
    typed_options,
)
from harness.registry.components import Kind
from harness.registry.specs import ComponentSpec
from harness.types import Recipe

DEFAULT_SUITE = "quickstart"
DEFAULT_OUTPUT = Path("runs")
DEFAULT_FOLDER = DEFAULT_OUTPUT / DEFAULT_SUITE
"""Where results are looked for when no folder is named."""
CONFIGURABLE: tuple[Kind, ...] = ("task", "distiller", "student", "evaluator")
Settings = Mapping[Kind, Mapping[str, Mapping[str, Any]]]
"""kind -> component name ('' for every one that has the option) -> option -> value."""


@dataclass(frozen=True)
class Suite:
    """One protocol: what runs, on which seeds, with which recipe.

    pool: the share of the train rows that each distilling seed draws, for all methods alike; 1
    gives every seed the whole train split, and a method that draws nothing one and the same set.
    proxy: the student that distillers may look through; the first student when empty.
    teacher: the student, larger as a rule, that model distillers learn from.
    default_for: the modality whose methods run here when no suite is named.
    variants: the variant that a bare family name stands for, such as `bert = "minilm"`.
    learning_rates: the grid that is tuned on validation, the same for every method.
    full_steps: steps of the whole-train reference row; 0 means those of the recipe.
    settings: options of components by name; those under '' must fit some component of a run.
    defaults: options for every component of a kind that has them, if any has.
    """

    name: str
    version: int
    summary: str
    tasks: tuple[str, ...]
    distillers: tuple[str, ...]
    students: tuple[str, ...]
    evaluators: tuple[str, ...]
    budgets: tuple[str, ...]
    proxy: str = ""
    teacher: str = ""
    default_for: str = ""
    references: tuple[str, ...] = ("random", "full")
    variants: Mapping[str, str] = field(default_factory=dict)
    distill_seeds: tuple[int, ...] = (0, 1, 2)
    fit_seeds: tuple[int, ...] = (0,)
    pool: PositiveShare = 0.8
    recipe: Recipe = field(default_factory=Recipe)
    learning_rates: tuple[Positive, ...] = (1e-4,)
    full_steps: int = 0
    settings: Settings = field(default_factory=dict)
    defaults: Mapping[Kind, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("tasks", "distillers", "students", "evaluators", "budgets"):
            if not getattr(self, name):
                raise UsageError(f"suite '{self.name}' names no {name}")
        for name in ("distill_seeds", "fit_seeds", "learning_rates"):
            _require_distinct(f"suite '{self.name}': {name}", getattr(self, name))
        for budget in self.budgets:
            if Budget.parse(budget).is_nothing:
                raise UsageError(f"budget '{budget}' must be positive")
        convert(self.pool, PositiveShare, where="seeds.pool")
        require_fields(self.recipe, where="recipe")
        _learning_rates(self.learning_rates)

    def chosen_distillers(self) -> tuple[str, ...]:
        """The distillers to run: the references come first, each once."""
        return tuple(dict.fromkeys((*self.references, *self.distillers)))

    def options_for(self, kind: Kind, name: str, known: Iterable[str]) -> dict[str, Any]:
        """The settings that apply to one component: shared ones it knows, then its own."""
        of_kind = self.settings.get(kind, {})
        names = set(known)
        shared = {**self.defaults.get(kind, {}), **of_kind.get("", {})}
        return {**{k: v for k, v in shared.items() if k in names}, **of_kind.get(name, {})}

    def spec_of(self, kind: Kind, text: str) -> ComponentSpec:
        """What a name stands for, with the suite's variant for a bare student family."""
        spec = ComponentSpec.parse(text)
        if kind != "student" or spec.argument:
            return spec
        return replace(spec, argument=self.variants.get(spec.name, ""))


def load_suite(path: Path) -> Suite:
    """Reads a suite's TOML file.

    Raises:
        UsageError: the file is missing, malformed (with its line), or has unknown keys.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"suite file '{path}' cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"suite file '{path}' is not valid TOML: {error}") from error
    try:
        return _from_document(document, default_name=path.stem)
    except UsageError as error:
        raise UsageError(f"suite file '{path}': {error.message}", hint=error.hint) from error


def with_settings(suite: Suite, assignments: Sequence[str]) -> Suite:
    """Applies `--set KEY=VALUE` changes in order.

    KEY is `recipe.FIELD`, `seeds.distill|fit|pool`, `KIND.OPTION` for every component of that kind
    that has the option, or `KIND.NAME.OPTION` for one of them.

    Raises:
        UsageError: a key that nothing answers to, or a value of the wrong type.
    """
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"'--set {assignment}' has no '='", hint="write --set KEY=VALUE")
        suite = _with_setting(suite, key.strip(), value.strip())
    return suite


def _with_setting(suite: Suite, key: str, value: str) -> Suite:
    section, _, rest = key.partition(".")
    if section == "recipe":
        return replace(suite, **_recipe_changes(suite.recipe, {rest: value}))
    if section == "seeds":
        return replace(suite, **_seed_changes({rest: value}))
    if section in CONFIGURABLE and rest:
        name, dot, option = rest.rpartition(".")
        table = {k: dict(v) for k, v in suite.settings.get(section, {}).items()}
        if not dot:
            # A change for all of a kind is newer than what the suite said of one of them.
            table = {k: {o: v for o, v in own.items() if o != option} for k, own in table.items()}
        table.setdefault(name, {})[option] = value
        return replace(suite, settings={**suite.settings, section: table})
    known = [f"{kind}.OPTION" for kind in CONFIGURABLE]
    raise UsageError(
        f"unknown setting '{key}'",
        hint=did_you_mean(section, [*CONFIGURABLE, "recipe", "seeds"])
        + f" Settings are recipe.FIELD, seeds.distill, seeds.fit, seeds.pool, {', '.join(known)}.",
    )


def _from_document(document: Mapping[str, Any], *, default_name: str) -> Suite:
    simple = {
        f.name: f
        for f in dataclasses.fields(Suite)
        if f.name not in {"recipe", "learning_rates", "full_steps", "settings", "defaults",
                          "distill_seeds", "fit_seeds", "pool"}
    }  # fmt: skip
    tables = ("recipe", "seeds", *CONFIGURABLE)
    _refuse_unknown(document, [*simple, *tables], where="suite")
    values: dict[str, Any] = {"name": default_name, "version": 1, "summary": ""}
    for name in simple:
        if name in document:
            values[name] = convert(document[name], declared_types(Suite)[name], where=name)
    values |= _recipe_changes(Recipe(), document.get("recipe", {}))
    values |= _seed_changes(document.get("seeds", {}))
    options = {kind: document[kind] for kind in CONFIGURABLE if kind in document}
    values["defaults"] = {k: _shared_options(k, table) for k, table in options.items()}
    values["settings"] = {k: _named_options(table) for k, table in options.items()}
    missing = [n for n in ("tasks", "distillers", "students", "evaluators", "budgets")
               if n not in values]  # fmt: skip
    if missing:
        raise UsageError(f"the keys {', '.join(missing)} are missing")
    return Suite(**values)


def _recipe_changes(recipe: Recipe, table: Mapping[str, Any]) -> dict[str, Any]:
    known = [f.name for f in dataclasses.fields(Recipe)]
    _refuse_unknown(table, [*known, "full_steps"], where="recipe")
    changes: dict[str, Any] = {}
    fields = {k: v for k, v in table.items() if k not in {"learning_rate", "full_steps"}}
    changes["recipe"] = replace(recipe, **typed_options(Recipe, fields, where="recipe"))
    if "learning_rate" in table:
        rates = table["learning_rate"]
        grid = rates if isinstance(rates, list | str) else [rates]
        changes["learning_rates"] = _learning_rates(grid)
    if "full_steps" in table:
        changes["full_steps"] = convert(table["full_steps"], int, where="recipe.full_steps")
    return changes


def _seed_changes(table: Mapping[str, Any]) -> dict[str, Any]:
    _refuse_unknown(table, ["distill", "fit", "pool"], where="seeds")
    changes: dict[str, Any] = {
        f"{name}_seeds": convert(value, tuple[int, ...], where=f"seeds.{name}")
        for name, value in table.items()
        if name != "pool"
    }
    if "pool" in table:
        changes["pool"] = convert(table["pool"], PositiveShare, where="seeds.pool")
    return changes


def _shared_options(kind: str, table: Any) -> dict[str, Any]:
    """What stands in [kind] itself, for every component that has the option."""
    if not isinstance(table, Mapping):
        raise UsageError(f"{kind} should be a table such as [{kind}.NAME]")
    return {name: value for name, value in table.items() if not isinstance(value, Mapping)}


def _named_options(table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The [kind.NAME] tables by name."""
    return {name: dict(own) for name, own in table.items() if isinstance(own, Mapping)}


def _refuse_unknown(table: Mapping[str, Any], known: Sequence[str], *, where: str) -> None:
    for key in table:
        if key not in known:
            raise UsageError(f"{where} has no key '{key}'", hint=did_you_mean(key, known))


def _learning_rates(grid: Any) -> tuple[float, ...]:
    return convert(grid, declared_types(Suite)["learning_rates"], where="recipe.learning_rate")


def _require_distinct(what: str, values: Sequence[Any]) -> None:
    if not values:
        raise UsageError(f"{what} is empty")
    if len(set(values)) != len(values):
        raise UsageError(f"{what} repeats a value: {list(values)}")

"""Suites: TOML in, typed protocol out, and settings that are refused when nothing answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.plan import Plan
from harness.plugins import PluginHost
from harness.registry.specs import ComponentSpec
from harness.suite import load_suite, with_settings
from toy_paths import TOY_SUITE

TOY = load_suite(TOY_SUITE)


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_a_file_becomes_a_typed_protocol() -> None:
    assert TOY.budgets == ("4/class",)
    assert TOY.recipe.steps == 5
    assert TOY.learning_rates == (1e-4, 3e-4)
    assert TOY.full_steps == 7
    assert TOY.chosen_distillers() == ("seeded", "everything", "first")


def test_every_suite_of_the_project_can_be_read() -> None:
    suites = PluginHost.discover().registry.suites
    assert {"quickstart", "glue-dilm", "sst2-local", "arc-local"} <= set(suites)
    for name, path in suites.items():
        suite = load_suite(path)
        assert suite.name == name
        assert suite.summary
        assert {"random", "full"} <= set(suite.chosen_distillers())


def test_a_malformed_file_is_reported_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line 3"):
        load_suite(written(tmp_path, 'name = "x"\ntasks = ["a"]\nstudents = = 3\n'))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("distilers = ['a']", "Did you mean distillers"),
        ("budgets = ['5 bananas']", "unknown unit"),
        ("tasks = []", "names no tasks"),
        ("tasks = 3", "tasks = 3"),
        ("[recipe]\nsteps = 'many'", "steps"),
        ("[recipe]\nlr = 1e-4", "recipe has no key 'lr'"),
        ("[recipe]\nlearning_rate = [1e-4, 1e-4]", "repeats a value"),
        ("[recipe]\nsteps = 0", "recipe.steps = 0: should be a whole number, at least 1"),
        ("[recipe]\nwarmup = 2", "recipe.warmup = 2: should be a number, at least 0 and at most 1"),
        ("[recipe]\nclip_norm = nan", "recipe.clip_norm = nan: should be a number, at least 0"),
        ("[recipe]\nlearning_rate = 0", "recipe.learning_rate = [0]: should be a list of numbers"),
        ("[seeds]\ndistill = []", "empty"),
        ("distiller = 3", "a table such as [distiller.NAME]"),
        ("[distiller.d]\nsteps = 3\n[seeds]\nfits = [0]", "seeds has no key 'fits'"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    lines = {
        "tasks": "tasks = ['t']",
        "distillers": "distillers = ['d']",
        "students": "students = ['s']",
        "evaluators": "evaluators = ['e']",
        "budgets": "budgets = ['1/class']",
    }
    lines[line.partition(" ")[0]] = line
    with pytest.raises(UsageError) as caught:
        load_suite(written(tmp_path, "\n".join(lines.values())))
    assert complaint in str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_a_protocol_that_is_built_in_python_keeps_the_same_bounds() -> None:
    suite = load_suite(TOY_SUITE)
    for change in ({"steps": 0}, {"warmup": 1.5}, {"clip_norm": float("nan")}):
        with pytest.raises(UsageError, match=rf"recipe\.{next(iter(change))} = "):
            replace(suite, recipe=replace(suite.recipe, **change))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"recipe\.learning_rate = \(0\.0,\): should be"):
        replace(suite, learning_rates=(0.0,))


def test_an_option_may_be_set_for_all_of_a_kind(tmp_path: Path) -> None:
    text = written(tmp_path, (
        "tasks = ['t']\ndistillers = ['d']\nstudents = ['s']\nevaluators = ['e']\n"
        "budgets = ['1/class']\n[distiller]\npool = 3\n[distiller.d]\nsteps = 5\n"
    ))  # fmt: skip
    suite = load_suite(text)
    assert suite.options_for("distiller", "d", ["pool", "steps"]) == {"pool": 3, "steps": 5}
    assert suite.options_for("distiller", "other", ["pool"]) == {"pool": 3}
    assert suite.options_for("distiller", "third", ["steps"]) == {}
    asked = with_settings(suite, ["distiller.pool=7"])
    assert asked.options_for("distiller", "other", ["pool"]) == {"pool": "7"}


def test_a_suites_shared_option_may_fit_no_method_of_a_run(planned: Callable[..., Plan]) -> None:
    assert planned(defaults={"distiller": {"teacher": "words"}}).cells
    with pytest.raises(UsageError, match="no distiller of this run has an option 'teacher'"):
        planned("distiller.teacher=words")


def test_a_missing_file() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_suite(Path("nowhere.toml"))


def test_settings_reach_recipe_seeds_and_components() -> None:
    changed = with_settings(
        TOY,
        ["recipe.steps=9", "recipe.learning_rate=1e-3,2e-3", "seeds.fit=1,2",
         "student.smoothing=2", "student.words.forget=0.5"],
    )  # fmt: skip
    assert changed.recipe.steps == 9
    assert changed.learning_rates == (1e-3, 2e-3)
    assert changed.fit_seeds == (1, 2)
    assert changed.options_for("student", "words", ["smoothing", "forget"]) == {
        "smoothing": "2",
        "forget": "0.5",
    }


def test_a_later_setting_wins_over_an_earlier_one_and_over_the_suite() -> None:
    suite = replace(TOY, settings={"distiller": {"first": {"skip": 3}}})

    def skip(*assignments: str) -> object:
        return with_settings(suite, assignments).options_for("distiller", "first", ["skip"])["skip"]

    assert skip() == 3
    assert skip("distiller.skip=1") == "1"
    assert skip("distiller.skip=1", "distiller.first.skip=2") == "2"
    assert skip("distiller.first.skip=2", "distiller.skip=1") == "1"


def test_a_component_gets_a_shared_setting_only_if_it_has_the_option() -> None:
    changed = with_settings(TOY, ["distiller.skip=1"])
    assert changed.options_for("distiller", "seeded", ["calls"]) == {}
    assert changed.options_for("distiller", "first", ["skip"]) == {"skip": "1"}


@pytest.mark.parametrize("bad", ["recipe.step=9", "distillr.x=1", "steps=3", "recipe.steps"])
def test_a_setting_that_nothing_answers_to(bad: str) -> None:
    with pytest.raises(UsageError):
        with_settings(TOY, [bad])


def test_a_bare_family_name_takes_the_suites_variant() -> None:
    quickstart = load_suite(PluginHost.discover().registry.suites["quickstart"])
    assert quickstart.spec_of("student", "bert") == ComponentSpec("bert", "minilm")
    assert quickstart.spec_of("student", "bert:base") == ComponentSpec("bert", "base")

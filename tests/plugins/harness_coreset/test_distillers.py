"""All coresets as distillers: their contract, their flags, and what they share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import UsageError
from harness.plugins import PluginHost
from harness.registry.components import DistillerComponent
from harness.registry.contracts import check_distilled
from harness.testing.instruction import toy_instruction_task
from harness.testing.text import check_distiller, toy_context
from harness.testing.toys import toy_task
from harness.types import DistilledData, TaskData
from harness_coreset.geometry.embedded import EmbeddedCoreset
from harness_coreset.geometry.facility_location import FacilityLocation
from harness_coreset.geometry.herding import Herding
from harness_coreset.geometry.k_center import KCenter
from harness_coreset.geometry.k_means import KMeans
from harness_coreset.geometry.moderate import Moderate
from harness_coreset.random_rows import FullTrain, RandomRows
from harness_coreset.scores.el2n import EL2N
from harness_coreset.scores.forgetting import Forgetting
from harness_instruct.students.families import Llama
from resolved import resolved

MakeContext = Callable[[int], StageContext]
EMBEDDED: list[type[EmbeddedCoreset]] = [KCenter, KMeans, Herding, FacilityLocation, Moderate]
DETERMINISTIC = {"full", "k-center", "herding", "facility-location", "moderate"}
NAMES = {*DETERMINISTIC, "random", "k-means", "el2n", "forgetting"}
TINY = {"proxy": "bert:tiny", "batch_size": 16, "pool": 0}


def chosen(data: DistilledData) -> list[int]:
    """Positions in train; a coreset always has them."""
    assert data.indices is not None
    return data.indices.tolist()


def lopsided_task() -> TaskData:
    """45 rows of class 0 and 15 of class 1."""
    task = toy_task(rows=90)
    labels = np.asarray(task.train["label"])
    kept = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:15]])
    return replace(task, splits={"train": task.train.select(np.sort(kept))})


@functools.cache
def registered() -> dict[str, DistillerComponent]:
    found = PluginHost.discover().registry.of("distiller")
    return {name: c for name, c in found.items() if c.plugin == "coreset"}  # type: ignore[misc]


def small(name: str) -> Any:
    """An instance that is cheap to run: TF-IDF, or the smallest proxy runs."""
    options: dict[str, Any] = {
        "random": {},
        "full": {},
        "el2n": {**TINY, "runs": 1, "steps": 2},
        "forgetting": {**TINY, "epochs": 2},
    }.get(name, {"embedding": "tfidf"})
    return registered()[name].load()(**options)


def test_all_coresets_are_registered_with_honest_flags() -> None:
    components = registered()
    base = components.pop("base")
    assert (base.produces, base.fixed_budget, base.reference) == ("model", "0%", True)
    assert set(components) == NAMES
    assert {n for n, c in components.items() if c.deterministic} == DETERMINISTIC
    assert {n: c.fixed_budget for n, c in components.items() if c.fixed_budget} == {"full": "100%"}
    assert {c.produces for c in components.values()} == {"selection"}
    assert {c.version for c in components.values()} == {"1"}


@pytest.mark.parametrize("name", sorted(NAMES - {"full", "el2n", "forgetting"}))
def test_a_coreset_keeps_its_contract(name: str, tmp_path: Path) -> None:
    check_distiller(
        small(name), tmp_path, produces="selection", deterministic=name in DETERMINISTIC
    )


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_coreset_fills_its_budget_with_different_rows(
    name: str, make_context: MakeContext
) -> None:
    component, task = registered()[name], toy_task(classes=3).sealed()
    for text in ("3/class", "7rows", "20%", "100%"):
        budget = Budget.parse(component.fixed_budget or text)
        data = small(name).distill(task, budget, make_context(0))
        check_distilled(component, data, task, budget)
        assert len(set(chosen(data))) == len(data.rows)
        shared = budget.per_class(task.class_counts())
        assert np.bincount(data.rows["label"], minlength=3).tolist() == shared


@pytest.mark.parametrize("name", sorted(NAMES - {"full"}))
def test_an_unbalanced_coreset_asks_only_for_the_total(
    name: str, make_context: MakeContext
) -> None:
    coreset = replace(small(name), balanced=False)
    data = coreset.distill(lopsided_task(), Budget.parse("20%"), make_context(0))
    assert len(data.rows) == 12


def test_balanced_and_unbalanced_random_rows_differ_in_their_classes(tmp_path: Path) -> None:
    def labels(balanced: bool) -> list[int]:
        context = toy_context(tmp_path, seed=3)
        data = RandomRows(balanced).distill(lopsided_task(), Budget.parse("24rows"), context)
        return np.bincount(data.rows["label"], minlength=2).tolist()

    assert labels(balanced=True) == [12, 12]
    zeros, ones = labels(balanced=False)
    assert zeros > ones


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_random_rows_belong_to_a_seed_and_a_budget(seed: int) -> None:
    task = toy_task(rows=200).sealed()

    def draw(seed: int, budget: str) -> set[int]:
        data = RandomRows().distill(task, Budget.parse(budget), StageContext(seed, Path()))
        return set(chosen(data))

    assert draw(seed, "10/class") == draw(seed, "10/class")
    assert draw(seed, "10/class") != draw(seed + 1, "10/class")
    assert not draw(seed, "10/class") <= draw(seed, "30/class"), "budgets are not nested"


def test_random_rows_are_drawn_evenly() -> None:
    task = toy_task(rows=20).sealed()
    counts = np.zeros(20)
    for seed in range(400):
        data = RandomRows().distill(task, Budget.parse("2/class"), StageContext(seed, Path()))
        counts[chosen(data)] += 1
    assert counts.mean() == 80
    assert np.abs(counts - 80).max() < 40


def test_full_is_the_train_split_itself(tmp_path: Path) -> None:
    task = toy_task().sealed()
    data = FullTrain().distill(task, Budget.parse("100%"), toy_context(tmp_path))
    assert data.rows["text"][:] == task.train["text"][:]


@pytest.mark.parametrize("method", [Herding, KCenter, FacilityLocation, Moderate])
def test_the_seed_changes_nothing_in_a_deterministic_coreset(
    method: type[EmbeddedCoreset], make_context: MakeContext
) -> None:
    coreset = method(proxy="bert:tiny", pool=40)
    sets = [
        chosen(coreset.distill(toy_task(), Budget.parse("5/class"), make_context(seed)))
        for seed in range(3)
    ]
    assert sets[0] == sets[1] == sets[2]


def test_the_seed_changes_k_means() -> None:
    coreset, budget = KMeans(embedding="tfidf"), Budget.parse("10/class")
    first, again, other = (
        chosen(coreset.distill(toy_task(), budget, StageContext(seed, Path())))
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_all_coresets_share_one_embedding(make_context: MakeContext, computed: list[str]) -> None:
    for seed, method in enumerate(EMBEDDED):
        for budget in ("2/class", "5/class"):
            coreset = method(proxy="bert:tiny", balanced=seed % 2 == 0)
            coreset.distill(toy_task(), Budget.parse(budget), make_context(seed))
    assert computed.count("embedding") == 1


@pytest.mark.parametrize("method", EMBEDDED)
def test_a_pool_bounds_the_rows_considered(
    method: type[EmbeddedCoreset], make_context: MakeContext
) -> None:
    data = method(proxy="bert:tiny", pool=20).distill(
        toy_task(), Budget.parse("4/class"), make_context(0)
    )
    assert data.report["rows_considered"] == 20
    assert len(data.rows) == 8


def reports(make_context: MakeContext) -> dict[str, DistilledData]:
    task, budget = toy_task(rows=120), Budget.parse("6/class")
    return {
        method.__name__: method(embedding="tfidf").distill(task, budget, make_context(0))
        for method in EMBEDDED
    }


@pytest.mark.parametrize(
    ("method", "measure"),
    [("KCenter", "coverage_radius"), ("KMeans", "mean_squared_distance"), ("Herding", "mean_gap")],
)
def test_a_method_is_better_than_moderate_at_what_it_is_for(
    method: str, measure: str, make_context: MakeContext
) -> None:
    found = {name: float(data.report[measure]) for name, data in reports(make_context).items()}
    assert found[method] < found["Moderate"]


def test_the_largest_radius_of_any_class_is_reported(make_context: MakeContext) -> None:
    task, budget = toy_task(), Budget.parse("100%")
    data = KCenter(embedding="tfidf").distill(task, budget, make_context(0))
    assert data.report["coverage_radius"] == 0
    assert data.report["mean_gap"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("coreset", [KCenter(), EL2N(), Forgetting()])
def test_without_a_proxy_the_error_says_what_to_set(coreset: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Set proxy to a student"):
        coreset.distill(toy_task(), Budget.parse("2/class"), toy_context(tmp_path))


@pytest.mark.parametrize("options", [{"restarts": 0}, {"iterations": 0}])
def test_k_means_without_work_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="= 0: should be a whole number, at least 1"):
        resolved(KMeans, **options)


@pytest.mark.parametrize("distiller", [RandomRows(), RandomRows(balanced=False)])
def test_random_draws_from_all_rows_where_there_are_no_classes(
    distiller: RandomRows, tmp_path: Path
) -> None:
    task = toy_instruction_task()
    check_distiller(distiller, tmp_path, produces="selection", task=task, budgets=("10rows", "25%"))
    drawn = chosen(distiller.distill(task.sealed(), Budget.parse("24rows"), toy_context(tmp_path)))
    assert len(set(drawn)) == 24
    assert {n % 2 for n in drawn} == {0, 1}


def test_full_is_the_whole_pool_where_there_are_no_classes(tmp_path: Path) -> None:
    task = toy_instruction_task()
    whole = FullTrain().distill(task.sealed(), Budget.parse("100%"), toy_context(tmp_path))
    assert chosen(whole) == list(range(len(task.train)))


@pytest.mark.parametrize("method", EMBEDDED)
@pytest.mark.parametrize("embedding", ["tfidf", "proxy"])
def test_a_coreset_of_embeddings_needs_no_classes(
    method: type[EmbeddedCoreset],
    embedding: Literal["tfidf", "proxy"],
    tmp_path: Path,
) -> None:
    """By words, and by the hidden states of a language model."""

    def with_a_language_model(folder: Path, seed: int) -> StageContext:
        return StageContext(seed, folder, student=lambda spec: Llama(variant="tiny"))

    check_distiller(
        method(proxy="llama:tiny", embedding=embedding),
        tmp_path,
        produces="selection",
        deterministic=method is not KMeans,
        task=toy_instruction_task(rows=24),
        budgets=("6rows", "25%", "100%"),
        make_context=with_a_language_model,
    )


@pytest.mark.parametrize("method", [KCenter, KMeans, FacilityLocation])
def test_chosen_instructions_are_of_every_kind(
    method: type[EmbeddedCoreset], make_context: MakeContext
) -> None:
    """Four questions about colours and three kinds of unrelated prompts."""
    task, budget = toy_instruction_task().sealed(), Budget.parse("12rows")
    data = method(embedding="tfidf").distill(task, budget, make_context(0))
    kinds = [*("grass", "snow", "blood", "coal"), *("hello", "friend", "boss")]
    prompts = data.rows["prompt"][:]
    assert [kind for kind in kinds if any(kind in prompt for prompt in prompts)] == kinds


def test_a_coreset_of_training_says_that_it_needs_classes(make_context: MakeContext) -> None:
    task, budget = toy_instruction_task().sealed(), Budget.parse("6rows")
    with pytest.raises(UsageError, match="trains a classifier, and task 'toy-instructions' has no"):
        EL2N(**TINY).distill(task, budget, make_context(0))

"""LESS as a distiller: its contract, its report, what it shares, and going on after a kill."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from less_world import PROXY, make_context, planted_task, small
from safetensors.numpy import load_file

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.language.causal_lm import CausalLM
from harness.kit.selection.row_pool import considered_rows
from harness.plugins import PluginHost
from harness.registry.components import DistillerComponent
from harness.testing.instruction import toy_instruction_task
from harness.testing.text import check_distiller
from harness.testing.toys import toy_task
from harness.types import DistilledData, TaskData
from harness_instruct.students.families import Llama
from harness_less import phases
from harness_less.less import Less
from harness_less.selection import choose
from harness_text.students import Bert
from memory_cache import MemoryCache
from resolved import resolved

ROWS = Budget.parse("6rows")


def chosen(data: DistilledData) -> list[int]:
    assert data.indices is not None
    return data.indices.tolist()


@pytest.fixture
def task() -> TaskData:
    return planted_task(8, 16)


@dataclass(frozen=True)
class OnAToy(Less):
    """In a context that has a small proxy."""

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        proxy = Llama(variant="tiny")
        return super().distill(task, budget, replace(context, student=lambda spec: proxy))


class TestContract:
    def test_it_conforms(self, tmp_path: Path) -> None:
        check_distiller(
            OnAToy(**vars(small(epochs=1, target_rows=2))),
            tmp_path,
            produces="selection",
            task=toy_instruction_task(24),
            budgets=("1rows", "25%", "100%"),
        )

    def test_it_is_registered(self) -> None:
        component = PluginHost.discover().registry.find("distiller", "less")
        assert isinstance(component, DistillerComponent)
        assert component.load() is Less
        assert (component.produces, component.deterministic) == ("selection", False)

    def test_it_says_that_it_looks_at_validation(self, task: TaskData, tmp_path: Path) -> None:
        data = small().distill(task, ROWS, make_context(tmp_path))
        assert data.used_splits == ("train", "validation")

    def test_a_larger_budget_begins_with_the_rows_of_a_smaller_one_and_computes_nothing(
        self, task: TaskData, tmp_path: Path
    ) -> None:
        cache = MemoryCache()
        few = small().distill(task, ROWS, make_context(tmp_path / "a", cache=cache))
        first = list(cache.computed)
        many = small().distill(task, Budget.parse("50%"), make_context(tmp_path / "b", cache=cache))
        assert chosen(many)[:6] == chosen(few)
        assert len(chosen(many)) == 12
        assert cache.computed == first
        assert not list((tmp_path / "b").iterdir())


class TestReport:
    def test_the_counts_are_those_of_the_run(self, task: TaskData, tmp_path: Path) -> None:
        context = make_context(tmp_path)
        report = small().distill(task, ROWS, context).report
        expected = {
            "warm_up_rows": 6, "warm_up_steps": 2, "checkpoints": 2, "adapter_parameters": 8192,
            "target_rows": 8, "subtasks": 2, "excluded_target_rows": 0, "distinct_rows": 24,
            "excluded_unreadable": 0, "excluded_not_finite": 0, "excluded_zero": 0,
            "chosen_rows": 6,
        }  # fmt: skip
        assert {name: report[name] for name in expected} == expected
        assert report["score_min"] <= report["score_median"] <= report["score_q95"]  # type: ignore[operator]
        assert report["chosen_score_min"] >= report["score_q95"] - 0.2  # type: ignore[operator]
        assert report["score_max"] <= 1  # type: ignore[operator]
        curve = context.curves["warm-up loss"]
        assert len(curve.values) == 2

    def test_seeds_change_the_warm_up_and_the_same_seed_nothing(
        self, task: TaskData, tmp_path: Path
    ) -> None:
        """Seed 0 is asked first through a cache that seed 1 uses as well."""
        cache = MemoryCache()
        reports = [
            small().distill(task, ROWS, make_context(tmp_path / str(n), seed, own)).report
            for n, (seed, own) in enumerate(((0, cache), (0, None), (1, cache)))
        ]
        assert reports[0] == reports[1]
        assert reports[0]["score_max"] != reports[2]["score_max"]

    def test_the_seed_draws_the_adapters(self, task: TaskData, tmp_path: Path) -> None:
        """At a rate of almost zero they stay what they were at first."""
        drawn = []
        for seed in (0, 1):
            folder = tmp_path / str(seed)
            small(learning_rate=1e-12).distill(task, ROWS, make_context(folder, seed))
            arrays = load_file(folder / "warm-up-0.safetensors")
            drawn.append({n: a for n, a in arrays.items() if n.startswith("weights/")})
        unequal = [n for n in drawn[0] if not np.allclose(drawn[0][n], drawn[1][n], atol=1e-9)]
        assert unequal == [n for n in drawn[0] if "lora_A" in n]


class TestSharing:
    def test_variants_share_the_warm_up_and_targets_the_stored_features(
        self, task: TaskData, tmp_path: Path
    ) -> None:
        cache = MemoryCache()

        def run(name: str, own: TaskData, **options: Any) -> list[str]:
            before = len(cache.computed)
            context = make_context(tmp_path / name, cache=cache)
            small(**options).distill(own, ROWS, context)
            return [n for n in cache.computed[before:] if n.startswith("less")]

        store: dict[str, Any] = {"scoring": "store", "projection": "sparse", "dimensions": 64}
        assert run("a", task) == ["less-warm-up", "less-scores"]
        assert run("b", task, features="sgd") == ["less-scores"]
        assert run("c", task, **store) == ["less-features", "less-features", "less-scores"]
        other = replace(
            task, splits={**task.splits, "validation": task.validation.select(range(5))}
        )
        assert run("d", other, **store) == ["less-scores"]
        assert run("e", other, epochs=1)[0] == "less-warm-up"


class TestKilled:
    @pytest.mark.parametrize("moment", ["exact_scores", "likeness", "examine_target"])
    def test_the_same_command_again_gives_what_an_undisturbed_run_gives(
        self, moment: str, task: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        undisturbed = small().distill(task, ROWS, make_context(tmp_path / "whole"))
        with monkeypatch.context() as patch:
            patch.setattr(phases, moment, killed)
            with pytest.raises(KeyboardInterrupt):
                small().distill(task, ROWS, make_context(tmp_path / "killed"))
        trained: list[int] = []
        with monkeypatch.context() as patch:
            patch.setattr("harness_less.warm_up.WarmUp.epoch", lambda *_: trained.append(1))
            resumed = small().distill(task, ROWS, make_context(tmp_path / "killed"))
        assert not trained
        assert chosen(resumed) == chosen(undisturbed)
        assert resumed.report == undisturbed.report


@dataclass(frozen=True)
class Allergic(Llama):
    """A proxy that computes NaN as soon as it reads a snowman."""

    variant: str = "tiny"

    def build(self, task: TaskData, context: StageContext) -> CausalLM:
        lm = super().build(task, context)
        numbers = lm.tokenizer("☃", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            lm.model.get_input_embeddings().weight[numbers[-1]] = float("nan")
        return lm


class TestRowsThatCannotBeScored:
    def test_they_are_reported_and_never_chosen(self, task: TaskData, tmp_path: Path) -> None:
        """Row 3 is too long for its completion to be read; row 20 gives NaN, in the warm-up too."""
        prompts, completions = list(task.train["prompt"]), list(task.train["completion"])
        completions[3] = "so " * 200
        prompts[20] = "what is ☃? "
        train = Dataset.from_dict({"prompt": prompts, "completion": completions})
        own = replace(task, splits={**task.splits, "train": train})
        less = small(fraction=1.0)
        everything = Budget.parse("100%")
        data = less.distill(own, everything, make_context(tmp_path, student=Allergic()))
        assert set(range(24)) - set(chosen(data)) == {3, 20}
        assert data.report["warm_up_rows"] == 22
        assert data.report["excluded_unreadable"] == 1
        assert data.report["excluded_not_finite"] == 1
        assert all(np.isfinite(v) for v in data.report.values() if not isinstance(v, str))


class TestPool:
    def test_rows_outside_it_are_neither_trained_on_nor_chosen(
        self, task: TaskData, tmp_path: Path
    ) -> None:
        less = small(pool=10, fraction=1.0)
        data = less.distill(task, ROWS, make_context(tmp_path))
        assert set(chosen(data)) <= set(considered_rows(task, ROWS, 10).tolist())
        expected = {"rows_considered": 10, "warm_up_rows": 10, "excluded_unreadable": 0}
        assert expected.items() <= data.report.items()

    def test_one_as_large_as_train_changes_nothing(self, task: TaskData, tmp_path: Path) -> None:
        found = [
            chosen(small(pool=pool).distill(task, ROWS, make_context(tmp_path / str(pool))))
            for pool in (0, 24)
        ]
        assert found[0] == found[1]

    def test_one_below_the_budget_is_refused(self, task: TaskData, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="pool of 5 rows is less than the budget of 6 rows"):
            small(pool=5).distill(task, ROWS, make_context(tmp_path))


class TestRefuses:
    def test_a_task_without_instructions(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"'toy' is of text-classification"):
            small().distill(toy_task().sealed(), ROWS, make_context(tmp_path))

    def test_an_empty_target(self, task: TaskData, tmp_path: Path) -> None:
        empty = replace(task, splits={**task.splits, "validation": task.validation.select([])})
        absent = replace(task, splits={"train": task.train})
        for broken in (empty, absent):
            with pytest.raises(UsageError, match="'toy-instructions' has no validation rows"):
                small().distill(broken, ROWS, make_context(tmp_path))

    def test_a_proxy_that_is_none(self, task: TaskData, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no proxy"):
            small(proxy="").distill(task, ROWS, make_context(tmp_path))
        with pytest.raises(UsageError, match="classifier"):
            small().distill(task, ROWS, make_context(tmp_path, student=Bert("tiny")))

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"fraction": 0.0}, "fraction = 0.0: should be a number, above 0 and at most 1"),
            ({"epochs": 0}, "epochs = 0: should be a whole number, at least 1"),
            ({"learning_rate": -1.0}, "learning_rate = -1.0: should be a number, above 0"),
            ({"warmup": 1.0}, "warmup = 1"),
            ({"clip_norm": -1.0}, "clip_norm = -1"),
            ({"lora_rank": 0}, "lora_rank = 0: should be a whole number, at least 1"),
            ({"target_rows": -1}, "target_rows = -1"),
            ({"projection": "srht"}, "scoring 'exact' needs no projection"),
            ({"dimensions": 0}, "dimensions = 0"),
            ({"pool": -1}, "pool = -1: should be a whole number, at least 0"),
        ],
    )
    def test_options_without_a_meaning(self, options: dict[str, Any], reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            resolved(Less, proxy=PROXY, **options)


class TestChoice:
    SCORES = np.array([0.5, -np.inf, 0.9, 0.5, 0.1])
    LENGTHS = np.array([10, 1, 20, 5, 7])

    def test_best_first_ties_by_index_and_never_a_row_without_a_score(self) -> None:
        assert choose(self.SCORES, self.LENGTHS, 3).tolist() == [2, 0, 3]
        assert choose(self.SCORES, self.LENGTHS, 5).tolist() == [2, 0, 3, 4]

    @pytest.mark.parametrize(("tokens", "rows"), [(20, 1), (29, 1), (30, 2), (35, 3), (999, 4)])
    def test_a_budget_of_tokens_ends_the_ranking(self, tokens: int, rows: int) -> None:
        found = choose(self.SCORES, self.LENGTHS, 5, tokens)
        assert found.tolist() == [2, 0, 3, 4][:rows]

    def test_nothing_to_choose_is_an_error(self) -> None:
        with pytest.raises(UsageError, match="20 tokens, and the budget is 19"):
            choose(self.SCORES, self.LENGTHS, 5, 19)
        with pytest.raises(UsageError, match="no row of the pool"):
            choose(np.array([-np.inf, np.nan]), np.array([1, 1]), 1)

    def test_the_option_is_heeded(self, task: TaskData, tmp_path: Path) -> None:
        data = small(tokens=60).distill(task, ROWS, make_context(tmp_path))
        assert 0 < int(data.report["chosen_tokens"]) <= 60
        assert len(chosen(data)) < 6

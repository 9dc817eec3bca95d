"""The distillers end to end on a toy task: what they return, report, share and resume."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dilm_world import TINY, make_context, make_task

from harness import Budget, HarnessError, UsageError
from harness.kit.training.batching import EncodedRows
from harness.protocols import Distiller
from harness.registry.components import Component, resolve
from harness.types import DistilledData
from harness_dilm import harness_register_distillers, stages
from harness_dilm.distiller import DiLM, VanillaLM
from harness_dilm.generator.synthesis import SyntheticRows
from harness_dilm.options import LanguageModelOptions, MatchingOptions
from memory_cache import MemoryCache
from resolved import resolved

QUICK: dict[str, Any] = {
    **TINY,
    "tiny_dropout": 0.0,
    "lm_steps": 40,
    "lm_batch_size": 16,
    "lm_learning_rate": 2e-2,
    "max_failures": 5,
    "over_sample": 5,
}
MATCHING: dict[str, Any] = {
    **QUICK,
    "match_steps": 2,
    "inner_steps": 2,
    "match_learning_rate": 1e-3,
    "synthetic_batch": 4,
    "learner_steps_between": 2,
    "learner_batch_size": 8,
    "teachers": 2,
    "teacher_rows": 5,
    "dms_interval": 2,
    "dms_batches": 2,
}
BUDGET = Budget.parse("3/class")
OPTIONS = {VanillaLM: QUICK, DiLM: MATCHING}


def distill(
    kind: type, folder: Path, fields: int = 1, seed: int = 3, cache: Any = None, **options: Any
) -> DistilledData:
    context = make_context(folder, seed, **({"cache": cache} if cache else {}))
    budget = options.pop("budget", BUDGET)
    distiller = kind(**{**OPTIONS[kind], **options})
    return distiller.distill(make_task(fields=fields), budget, context)


def texts(data: DistilledData) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in data.rows]


@pytest.mark.parametrize("kind", [VanillaLM, DiLM])
@pytest.mark.parametrize("fields", [1, 2])
def test_rows_look_like_train_rows_and_keep_the_budget(
    tmp_path: Path, kind: type, fields: int
) -> None:
    data = distill(kind, tmp_path, fields)
    task = make_task(fields=fields)
    assert isinstance(kind(), Distiller)
    assert data.rows.features == task.train.features
    assert np.bincount(data.rows["label"]).tolist() == [3, 3]
    assert data.indices is None
    assert data.used_splits == ("train",)
    for column in task.input_columns:
        assert all(text and text == text.strip() for text in data.rows[column])
    assert len({row[:-1] for row in texts(data)}) == 6


@pytest.mark.parametrize("kind", [VanillaLM, DiLM])
def test_the_report_is_finite_and_counts_a_hundredfold_choice(tmp_path: Path, kind: type) -> None:
    data = distill(kind, tmp_path, over_sample=20)
    report = data.report
    assert all(np.isfinite(v) for v in report.values() if not isinstance(v, str))
    assert report["generated"] == 20 * 6
    assert report["selection_ratio"] == 20
    shares = {k: v for k, v in report.items() if k.startswith("share_")}
    assert {
        "share_malformed",
        "share_empty",
        "share_truncated",
        "share_duplicates",
        "share_train_copies",
        "share_train_copies_kept",
        "share_reencoded_otherwise",
    } == set(shares)
    assert all(0 <= float(share) <= 1 for share in shares.values())
    if kind is DiLM:
        assert report["match_updates"] == 4
        assert {"similarity_start", "similarity_end", "gradient_norm_end"} <= set(report)
        assert {"similarity_at_learner_step_0", "similarity_at_learner_step_2"} <= set(report)


def test_the_default_chooses_one_of_a_hundred() -> None:
    assert VanillaLM().over_sample == DiLM().over_sample == 100
    assert VanillaLM().selection == DiLM().selection == "k-means"


@pytest.mark.parametrize("kind", [VanillaLM, DiLM])
def test_the_seed_decides_everything(tmp_path: Path, kind: type) -> None:
    first, again = (distill(kind, tmp_path / name) for name in ("a", "b"))
    other = distill(kind, tmp_path / "c", seed=4)
    assert texts(first) == texts(again)
    assert first.report == again.report
    assert texts(first) != texts(other)


@pytest.mark.parametrize("selection", ["k-means", "random", "herding", "lm-loss"])
def test_every_selection_keeps_distinct_texts(tmp_path: Path, selection: str) -> None:
    data = distill(VanillaLM, tmp_path, selection=selection)
    assert len({row[:-1] for row in texts(data)}) == 6


def test_lm_loss_keeps_likelier_rows_than_random(tmp_path: Path) -> None:
    kept = {
        selection: distill(VanillaLM, tmp_path, selection=selection, normalise="batch")
        for selection in ("lm-loss", "random")
    }
    words = {k: np.mean([len(t.split()) for t in d.rows["text"]]) for k, d in kept.items()}
    assert words["lm-loss"] < words["random"]


def test_a_killed_run_resumes_after_the_language_model_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = distill(DiLM, tmp_path / "whole")
    with monkeypatch.context() as killed:

        def kill(*_: Any) -> None:
            raise KeyboardInterrupt

        killed.setattr("harness_dilm.matching.gradient_matching.GradientMatching.run", kill)
        with pytest.raises(KeyboardInterrupt):
            distill(DiLM, tmp_path / "killed")
    assert [p.name for p in (tmp_path / "killed").iterdir()] == ["language-model.safetensors"]
    forbid(monkeypatch, "train_language_model")
    resumed = distill(DiLM, tmp_path / "killed")
    assert texts(resumed) == texts(undisturbed)
    assert resumed.report == undisturbed.report


def test_a_run_killed_while_generating_resumes_after_matching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = distill(DiLM, tmp_path / "work")
    forbid(monkeypatch, "train_language_model")
    monkeypatch.setattr("harness_dilm.matching.gradient_matching.GradientMatching.run", _forbidden)
    resumed = distill(DiLM, tmp_path / "work")
    assert texts(resumed) == texts(undisturbed)
    assert resumed.report == undisturbed.report


def test_budgets_and_both_distillers_share_one_language_model(tmp_path: Path) -> None:
    cache = MemoryCache()
    plain = distill(VanillaLM, tmp_path / "a", cache=cache)
    distill(VanillaLM, tmp_path / "b", cache=cache, budget=Budget.parse("2/class"))
    distill(DiLM, tmp_path / "c", cache=cache)
    assert cache.computed.count("dilm-lm") == 1
    assert texts(plain) == texts(distill(VanillaLM, tmp_path / "d"))
    distill(VanillaLM, tmp_path / "e", cache=cache, lm_steps=41)
    distill(VanillaLM, tmp_path / "f", cache=cache, seed=4)
    assert cache.computed.count("dilm-lm") == 3


def test_every_option_of_the_language_model_enters_its_key() -> None:
    """Those left out are of sampling, selection and matching."""
    later = {
        "generator",  # enters as a fingerprint
        "top_p",
        "max_new_tokens",
        "generation_batch",
        "max_failures",
        "over_sample",
        "selection",
        "embedding",
        "proxy",
        "one_generator",  # enters as the seed
    }
    known = {field.name for field in dataclasses.fields(LanguageModelOptions)}
    assert set(stages.STAGE_ONE_OPTIONS) == known - later


def test_matching_is_done_once_for_all_budgets_and_selections(tmp_path: Path) -> None:
    cache = MemoryCache()
    first = distill(DiLM, tmp_path / "a", cache=cache)
    distill(DiLM, tmp_path / "b", cache=cache, budget=Budget.parse("2/class"))
    distill(DiLM, tmp_path / "c", cache=cache, selection="random", over_sample=2)
    assert cache.computed.count("dilm-matched") == 1
    assert texts(first) == texts(distill(DiLM, tmp_path / "d"))
    distill(DiLM, tmp_path / "e", cache=cache, temperature=0.5)
    distill(DiLM, tmp_path / "f", cache=cache, top_p=0.9)
    distill(DiLM, tmp_path / "g", cache=cache, seed=4)
    assert cache.computed.count("dilm-matched") == 4


@pytest.mark.parametrize("kind", [VanillaLM, DiLM])
def test_one_generator_serves_all_seeds_with_sets_of_their_own(kind: type, tmp_path: Path) -> None:
    cache = MemoryCache()
    sets = [
        texts(distill(kind, tmp_path / str(seed), seed=seed, cache=cache, one_generator=True))
        for seed in (3, 4)
    ]
    assert sets[0] != sets[1]
    assert [cache.computed.count(name) for name in ("dilm-lm", "dilm-matched")] == [
        1,
        int(kind is DiLM),
    ]


def test_one_generator_is_no_option_of_results_without_it() -> None:
    component = Component("distiller", "dilm", DiLM, "", "dilm", "d", "1")
    assert "one_generator" not in resolve(component, "", {}).options
    assert resolve(component, "", {"one_generator": True}).options["one_generator"] is True


def test_a_generator_that_repeats_itself_is_asked_again_and_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def repeat(generator: Any, per_class: list[int], *_: Any) -> SyntheticRows:
        calls.append(list(per_class))
        labels = np.repeat([0, 1], per_class)
        words = [f"film {len(calls) if label else 0}" for label in labels]
        return SyntheticRows(
            columns=("text",),
            sequences=EncodedRows(ids=tuple(np.array([300, 1, 0]) for _ in labels)),
            fields=tuple((word,) for word in words),
            labels=labels,
            complete=np.ones(len(labels), bool),
            malformed=0,
            empty=0,
        )

    monkeypatch.setattr("harness_dilm.stages.synthesise", repeat)
    with pytest.raises(HarnessError, match=r"repeats itself.*\n.*top_p"):
        distill(VanillaLM, tmp_path)
    assert calls[0] == [15, 15]
    assert calls[1] == [2, 2]
    assert calls[-1] == [2, 0]
    assert len(calls) == stages.TOP_UPS + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lm_steps": -1}, "lm_steps = -1: should be a whole number, at least 0"),
        ({"over_sample": 0}, "over_sample = 0: should be a whole number, at least 1"),
        ({"top_p": 0.0}, r"top_p = 0\.0: should be a number, above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p = 1.5: should be a number, above 0 and at most 1"),
        ({"lm_warmup": 2.0}, "lm_warmup = 2.0: should be a number, at least 0 and at most 1"),
        ({"tiny_width": 30, "tiny_heads": 4}, "not a multiple of"),
        ({"tiny_vocabulary": 100}, "tiny_vocabulary = 100: should be a whole number, at least 300"),
        (
            {"lm_learning_rate": float("nan")},
            "lm_learning_rate = nan: should be",
        ),
    ],
)
@pytest.mark.parametrize("kind", [VanillaLM, DiLM])
def test_impossible_options_are_refused(kind: type, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolved(kind, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature = 0.0: should be a number, above 0"),
        ({"lm_weight": 1.1}, "lm_weight = 1.1: should be a number, at least 0 and at most 1"),
        ({"inner_steps": 0}, "inner_steps = 0: should be a whole number, at least 1"),
        ({"dms_interval": 0}, "dms_interval = 0: should be a whole number, at least 1"),
        ({"match": "full", "learner_updates": "head"}, "encoder cannot"),
    ],
)
def test_impossible_matching_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolved(DiLM, **options)


def test_defaults_are_those_of_the_paper() -> None:
    options = MatchingOptions()
    assert (options.lm_steps, options.lm_batch_size, options.lm_learning_rate) == (80_000, 64, 1e-5)
    assert options.updates == 20_000
    assert (options.match_learning_rate, options.match_warmup) == (3e-7, 0.05)
    assert (options.learner_steps_between, options.learner_learning_rate) == (20, 1e-4)
    assert (options.teachers, options.teacher_rows) == (10, 200)
    assert (options.synthetic_batch, options.dms_batches, options.dms_interval) == (64, 200, 200)
    assert (options.temperature, options.lm_weight, options.match) == (1.0, 0.0, "head")
    assert (options.top_p, options.over_sample) == (0.95, 100)


def test_a_missing_proxy_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="proxy"):
        distill(VanillaLM, tmp_path, proxy="")


def test_a_budget_above_train_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="more than the 20 train rows"):
        distill(VanillaLM, tmp_path, budget=Budget.parse("21/class"))


def test_both_distillers_are_registered() -> None:
    offered: dict[str, dict[str, Any]] = {}

    def register(name: str, target: str, **flags: Any) -> None:
        offered[name] = {"target": target, **flags}

    harness_register_distillers(register)  # type: ignore[arg-type]
    assert offered["dilm"]["target"] == "harness_dilm.distiller:DiLM"
    assert offered["vanilla-lm"]["target"] == "harness_dilm.distiller:VanillaLM"
    assert all(o["produces"] == "synthesis" for o in offered.values())
    versions = {name: o["version"] for name, o in offered.items()}
    assert versions == {"dilm": "3", "vanilla-lm": "2"}


def forbid(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(f"harness_dilm.stages.{name}", _forbidden)


def _forbidden(*_: Any, **__: Any) -> None:
    raise AssertionError("this was computed before")

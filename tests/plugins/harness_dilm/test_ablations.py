"""Each switch of the published ablations changes what it names, and leaves the rest as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dilm_world import MATCHING, TINY, make_classifier, make_context, make_generator, make_task
from hypothesis import given
from hypothesis import strategies as st

from harness import Budget
from harness.registry.components import Component, resolve
from harness.types import DistilledData
from harness_dilm import stages
from harness_dilm.distiller import DiLM, VanillaLM
from harness_dilm.matching.gradient_matching import GradientMatching
from harness_dilm.matching.pool import SamplePool
from harness_dilm.matching.similarity import sample_weights
from harness_dilm.options import MatchingOptions, Selection
from memory_cache import MemoryCache

SMALL: dict[str, Any] = {**MATCHING, "tiny_dropout": 0.0, "dms_interval": 4}
SAMPLED: dict[str, Any] = {
    **TINY,
    "lm_steps": 40,
    "lm_batch_size": 16,
    "lm_learning_rate": 2e-2,
    "tiny_dropout": 0.0,
    "max_failures": 5,
    "over_sample": 5,
}


def make_matching(folder: Path, **options: Any) -> GradientMatching:
    task, context = make_task(), make_context(folder)
    chosen = MatchingOptions(**{**SMALL, **options})
    generator = make_generator(task, context, tiny_dropout=chosen.tiny_dropout)
    sequences = generator.format.encode(task.train, generator.max_length)
    matching = GradientMatching(generator, make_classifier(), task, sequences, 12, chosen, context)
    matching.learner.reset(0)
    return matching


def drawn(pool: SamplePool) -> list[list[int]]:
    return [ids.tolist() for ids in pool.sequences.ids]


def clusters(pool: SamplePool) -> list[list[list[int]]]:
    return [[c.tolist() for c in batches.clusters] for batches in pool.batches]


def teacher(matching: GradientMatching, step: int = 0) -> list[list[int]]:
    return [rows.tolist() for rows in matching.teacher(step)]


def learner_state(matching: GradientMatching) -> dict[str, torch.Tensor]:
    state = matching.learner.classifier.model.state_dict()
    return {name: value.clone() for name, value in state.items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_without_representative_teachers_only_the_real_rows_change(tmp_path: Path) -> None:
    whole, ablated = make_matching(tmp_path), make_matching(tmp_path, representative=False)
    assert teacher(whole) != teacher(ablated)
    for matching in (whole, ablated):
        for label, rows in enumerate(matching.teacher(0)):
            assert len(set(rows.tolist())) == 5
            assert (matching._labels[rows] == label).all()
    pools = [matching.regenerate(0) for matching in (whole, ablated)]
    assert drawn(pools[0]) == drawn(pools[1])
    assert clusters(pools[0]) == clusters(pools[1])
    assert same(learner_state(whole), learner_state(ablated))


def test_without_diverse_batches_only_the_grouping_of_the_samples_changes(tmp_path: Path) -> None:
    whole, ablated = make_matching(tmp_path), make_matching(tmp_path, dms=False)
    pools = [matching.regenerate(0) for matching in (whole, ablated)]
    assert drawn(pools[0]) == drawn(pools[1])
    assert clusters(pools[0]) != clusters(pools[1])
    assert {len(cluster) for batches in clusters(pools[1]) for cluster in batches} == {3}
    assert teacher(whole) == teacher(ablated)
    assert same(learner_state(whole), learner_state(ablated))


def test_a_random_learner_changes_the_encoder_and_nothing_else(tmp_path: Path) -> None:
    whole, ablated = make_matching(tmp_path), make_matching(tmp_path, learner="random")
    states = [learner_state(matching) for matching in (whole, ablated)]
    head = {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(states[0][name], states[1][name]) for name in head)
    weights = [n for n in states[0] if n.startswith("bert") and n.endswith("dense.weight")]
    assert weights
    assert not any(torch.equal(states[0][name], states[1][name]) for name in weights)
    assert teacher(whole) == teacher(ablated)
    raw = [make_matching(tmp_path, learner=kind, dms_encoder="pretrained")
           for kind in ("pretrained", "random")]  # fmt: skip
    pools = [matching.regenerate(0) for matching in raw]
    assert drawn(pools[0]) == drawn(pools[1])
    assert clusters(pools[0]) == clusters(pools[1])


def test_a_random_learner_is_drawn_by_the_seed_and_every_loop_starts_from_it(
    tmp_path: Path,
) -> None:
    one, again = (make_matching(tmp_path, learner="random") for _ in range(2))
    start = learner_state(one)
    assert same(start, learner_state(again))
    one.learner.train(one._real, one._labels, 0, 1)
    assert not same(start, learner_state(one))
    one.learner.reset(1)
    encoder = {n: v for n, v in learner_state(one).items() if n.startswith("bert")}
    assert same(encoder, start)


def test_the_learner_enters_a_key_only_where_it_is_chosen() -> None:
    component = Component(
        kind="distiller",
        name="dilm",
        target=DiLM,
        summary="",
        plugin="harness_dilm",
        distribution="",
        version="2",
    )
    assert not {"learner", "learner_trajectories"} & resolve(component, "", {}).options.keys()
    assert "learner" not in resolve(component, "", {"learner": "pretrained"}).options
    for name, value in {"learner": "random", "learner_trajectories": 5}.items():
        assert resolve(component, "", {name: value}).options[name] == value


def effective_size(losses: torch.Tensor, temperature: float) -> float:
    """Kish's: of how many equal weights the weights are worth."""
    return float(1 / sample_weights(losses, temperature).square().sum())


@given(
    st.lists(st.floats(0, 8), min_size=2, max_size=16),
    st.floats(0.05, 20),
    st.floats(1.1, 10),
)
def test_a_higher_temperature_never_lessens_the_effective_sample_size(
    losses: list[float], temperature: float, factor: float
) -> None:
    values = torch.tensor(losses, dtype=torch.float64)
    sharp, flat = (effective_size(values, t) for t in (temperature, factor * temperature))
    assert 1 - 1e-9 <= sharp <= flat + 1e-9 <= len(losses) + 2e-9


def test_the_temperature_goes_from_one_sample_to_all_of_them() -> None:
    losses = torch.arange(64, dtype=torch.float64) / 64
    assert effective_size(losses, 1e-4) == pytest.approx(1.0)
    assert effective_size(losses, 1e6) == pytest.approx(64.0)


def test_the_temperature_changes_the_weights_of_the_same_samples(tmp_path: Path) -> None:
    matchings = [make_matching(tmp_path, temperature=t) for t in (0.1, 1.0, 10.0)]
    pools = [matching.regenerate(0) for matching in matchings]
    assert drawn(pools[0]) == drawn(pools[1]) == drawn(pools[2])
    assert teacher(matchings[0]) == teacher(matchings[1])
    sizes = [
        [float(1 / w.detach().square().sum()) for w in m._weights(p.picks(0), p)]
        for m, p in zip(matchings, pools, strict=True)
    ]
    assert (np.diff(np.array(sizes), axis=0) > 0).all()


@pytest.mark.parametrize(
    ("switch", "value"), [("lm_weight", 0.5), ("match", "full"), ("temperature", 0.1)]
)
def test_a_switch_of_the_loss_changes_the_update_of_the_same_rows(
    tmp_path: Path, switch: str, value: Any
) -> None:
    whole, ablated = make_matching(tmp_path), make_matching(tmp_path, **{switch: value})
    assert same(learner_state(whole), learner_state(ablated))
    gradients = []
    for matching in (whole, ablated):
        pool = matching.regenerate(0)
        matching.accumulate(0, pool.picks(0), pool, matching.teacher(0), np.arange(6))
        parameters = matching.generator.model.parameters()
        gradients.append(torch.cat([p.grad.flatten() for p in parameters]))
    assert (gradients[0] - gradients[1]).norm() > 1e-3 * gradients[0].norm()


def distill(cache: MemoryCache, folder: Path, **options: Any) -> DistilledData:
    context = make_context(folder, cache=cache)
    distiller = VanillaLM(**{**SAMPLED, **options})
    return distiller.distill(make_task(), Budget.parse("3/class"), context)


def texts(data: DistilledData) -> list[str]:
    return list(data.rows["text"])


def test_without_selection_the_samples_are_the_set_and_the_ratio_is_1(tmp_path: Path) -> None:
    cache = MemoryCache()
    whole = distill(cache, tmp_path / "whole")
    ablated = distill(cache, tmp_path / "ablated", selection="random", over_sample=1)
    assert cache.computed.count("dilm-lm") == 1
    assert (whole.report["generated"], whole.report["selection_ratio"]) == (30, 5)
    assert (ablated.report["generated"], ablated.report["selection_ratio"]) == (6, 1)
    language = {name for name in whole.report if name.startswith("lm_")}
    assert language
    assert {n: whole.report[n] for n in language} == {n: ablated.report[n] for n in language}
    assert texts(whole) != texts(ablated)


def test_each_selection_chooses_others_of_the_same_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, pools, chosen = MemoryCache(), [], {}
    generate = stages.generate_candidates

    def spy(*arguments: Any) -> Any:
        pools.append(generate(*arguments))
        return pools[-1]

    monkeypatch.setattr(stages, "generate_candidates", spy)
    kinds: tuple[Selection, ...] = ("k-means", "random", "herding", "lm-loss")
    for kind in kinds:
        chosen[kind] = frozenset(texts(distill(cache, tmp_path / kind, selection=kind)))
    assert cache.computed.count("dilm-lm") == 1
    assert all(pool.fields == pools[0].fields for pool in pools)
    assert all(one <= {fields[0] for fields in pools[0].fields} for one in chosen.values())
    assert len(set(chosen.values())) == len(kinds)

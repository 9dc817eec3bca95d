"""Stage 2 as a whole: what each switch changes, and what each update consists of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dilm_world import MATCHING, make_classifier, make_context, make_generator, make_task

from harness.kit.training.batching import EncodedRows
from harness.randomness import seeded
from harness_dilm.matching.gradient_matching import GradientMatching
from harness_dilm.matching.pool import Picks, SamplePool
from harness_dilm.matching.similarity import HeadBatch
from harness_dilm.options import MatchingOptions

NO_REPLAY = np.arange(4)


def make_matching(folder: Path, **options: Any) -> GradientMatching:
    task, context = make_task(), make_context(folder)
    chosen = MatchingOptions(**{**MATCHING, **options})
    generator = make_generator(task, context, tiny_dropout=chosen.tiny_dropout)
    sequences = generator.format.encode(task.train, generator.max_length)
    return GradientMatching(generator, make_classifier(), task, sequences, 12, chosen, context)


def prepared(matching: GradientMatching) -> tuple[SamplePool, Picks]:
    """A pool under a head that tells samples apart: a fresh one has nearly parallel gradients."""
    matching.learner.reset(0)
    head = matching.learner.classifier.head
    with torch.no_grad():
        head.weight.copy_(
            torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(0))
        )
    pool = matching.regenerate(0)
    return pool, pool.picks(0)


def generator_gradient(matching: GradientMatching, pool: SamplePool, picks: Picks) -> torch.Tensor:
    matching.generator.model.zero_grad()
    with seeded(0):
        matching.accumulate(0, picks, pool, matching.teacher(0), NO_REPLAY)
    return torch.cat([p.grad.flatten() for p in matching.generator.model.parameters()])


def test_every_update_is_recorded_and_changes_the_generator(tmp_path: Path) -> None:
    matching = make_matching(tmp_path)
    before = matching.generator.parameters()
    trace = matching.run()
    after = matching.generator.parameters()
    assert len(trace.similarity) == len(trace.gradient_norm) == 6
    assert trace.age == [0, 1, 2, 0, 1, 2]
    assert len(trace.used_share) == 2
    assert all(-1 <= s <= 1 for s in trace.similarity)
    assert all(norm > 0 for norm in trace.gradient_norm)
    assert any(not np.array_equal(before[name], after[name]) for name in before)


def test_a_run_is_reproducible_whatever_the_global_seed(tmp_path: Path) -> None:
    results = []
    for seed in (0, 1):
        with seeded(seed):
            matching = make_matching(tmp_path)
            matching.run()
        results.append(matching.generator.parameters())
    assert all(np.array_equal(results[0][name], results[1][name]) for name in results[0])


def test_interval_1_is_on_policy(tmp_path: Path) -> None:
    assert make_matching(tmp_path, dms_interval=1).run().age == [0.0] * 6


def test_teachers_are_cycled_in_order(tmp_path: Path) -> None:
    matching = make_matching(tmp_path)
    first, second, third = (matching.teacher(step) for step in range(3))
    assert all(np.array_equal(a, b) for a, b in zip(first, third, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert all((matching._labels[rows] == label).all() for label, rows in enumerate(first))


def test_without_representative_teachers_every_update_draws_anew(tmp_path: Path) -> None:
    matching = make_matching(tmp_path, representative=False)
    drawn = {tuple(np.concatenate(matching.teacher(step))) for step in range(8)}
    assert len(drawn) == 8


def test_samples_of_a_pool_go_to_their_own_class(tmp_path: Path) -> None:
    pool, picks = prepared(make_matching(tmp_path))
    form = make_matching(tmp_path).generator.format
    for label, own in enumerate(picks):
        firsts = {int(pool.sequences.ids[i][0]) for i in own}
        assert firsts == {form.class_ids[label]}
    assert len(pool.sequences) == 2 * 4 * 3


@pytest.mark.parametrize("dms", [True, False])
def test_pools_hold_what_was_asked_with_and_without_clusters(tmp_path: Path, dms: bool) -> None:
    pool, _ = prepared(make_matching(tmp_path, dms=dms))
    for batches in pool.batches:
        assert sum(map(len, batches.clusters)) == 12
    sizes = {len(cluster) for batches in pool.batches for cluster in batches.clusters}
    assert dms or sizes == {3}


def test_clusters_of_the_raw_encoder_do_not_depend_on_the_learner(tmp_path: Path) -> None:
    def clusters(encoder: str) -> list[list[list[int]]]:
        matching = make_matching(tmp_path, dms_encoder=encoder, learner_learning_rate=0.3)
        matching.learner.reset(0)
        before = matching.regenerate(0)
        matching.learner.train(matching._real, matching._labels, 0, 1)
        after = matching.regenerate(0)
        assert before.sequences.ids[0].tolist() == after.sequences.ids[0].tolist()
        return [
            [sorted(c.tolist()) for batches in pool.batches for c in batches.clusters]
            for pool in (before, after)
        ]

    raw = clusters("pretrained")
    trained = clusters("fresh")
    assert raw[0] == raw[1]
    assert trained[0] != trained[1]


@pytest.mark.parametrize(("encoder", "trained"), [("stale", True), ("fresh", False)])
def test_a_regeneration_at_a_reset_embeds_with_the_learner_before_or_after_it(
    tmp_path: Path, encoder: str, trained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    matching = make_matching(tmp_path, dms_encoder=encoder)
    raw = matching.learner.classifier.model.state_dict()
    raw = {name: value.clone() for name, value in raw.items()}
    seen: list[bool] = []
    embed = GradientMatching._embed

    def spy(self: GradientMatching, rows: Any) -> np.ndarray:
        now = self.learner.classifier.model.state_dict()
        seen.append(
            not torch.equal(now["bert.pooler.dense.weight"], raw["bert.pooler.dense.weight"])
        )
        return embed(self, rows)

    monkeypatch.setattr(GradientMatching, "_embed", spy)
    matching.run()
    assert seen == [False, trained]


def test_scoring_uses_the_generators_dropout_only_if_asked(tmp_path: Path) -> None:
    gradients = {}
    for on in (True, False):
        matching = make_matching(tmp_path, score_dropout=on, tiny_dropout=0.5)
        pool, picks = prepared(matching)
        gradients[on] = [generator_gradient(matching, pool, picks) for _ in range(2)]
        assert torch.equal(*gradients[on])
    difference = (gradients[True][0] - gradients[False][0]).norm()
    assert difference > 0.1 * gradients[False][0].norm()


def test_all_classes_at_once_equal_the_loop_over_classes(tmp_path: Path) -> None:
    matching = make_matching(tmp_path, score_dropout=False)
    pool, picks = prepared(matching)
    teacher = matching.teacher(0)
    together = generator_gradient(matching, pool, picks)
    alone = torch.zeros_like(together)
    for label in range(2):
        matching.generator.model.zero_grad()
        weights = matching._weights((picks[label],), pool)[0]
        features = [
            matching.learner.head_inputs(table, own)
            for table, own in ((matching._real, teacher[label]), (pool.table, picks[label]))
        ]
        real, synthetic = (
            HeadBatch.at(matching.learner.classifier.head, each, label) for each in features
        )
        match = synthetic.match(real.mean_gradient(), weights.detach())
        weights.backward(match.weight_gradient / 2)
        alone += torch.cat([p.grad.flatten() for p in matching.generator.model.parameters()])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-6 * float(alone.abs().max()))


def test_the_language_model_mix_is_linear(tmp_path: Path) -> None:
    def gradient(share: float) -> torch.Tensor:
        matching = make_matching(tmp_path, score_dropout=False, lm_weight=share)
        return generator_gradient(matching, *prepared(matching))

    none, half, whole = gradient(0.0), gradient(0.5), gradient(1.0)
    assert (none - whole).norm() > 0.1 * none.norm()
    torch.testing.assert_close(
        half, (none + whole) / 2, rtol=1e-3, atol=1e-4 * none.abs().max().item()
    )


def test_the_whole_network_gives_another_gradient_than_the_head(tmp_path: Path) -> None:
    head, full = (
        generator_gradient(m, *prepared(m))
        for m in (
            make_matching(tmp_path, match=kind, score_dropout=False) for kind in ("head", "full")
        )
    )
    assert torch.isfinite(full).all()
    assert full.norm() > 0
    assert (head - full).norm() > 0.1 * head.norm()


def test_real_rows_as_synthetic_batch_under_flat_weights_match(tmp_path: Path) -> None:
    """At a very high temperature the weights are uniform; the same texts then have loss 0."""
    matching = make_matching(tmp_path, temperature=1e9, score_dropout=False)
    matching.learner.reset(0)
    teacher = matching.teacher(0)
    pool = SamplePool(
        sequences=EncodedRows(ids=matching._sequences.ids),
        table=matching._real,
        batches=(),
        born=0,
    )
    matches = matching.accumulate(0, teacher, pool, teacher, NO_REPLAY)
    for match in matches:
        assert 1 - match.alignment.similarity == pytest.approx(0.0, abs=1e-6)


def test_matching_moves_weight_to_samples_with_the_right_gradient(tmp_path: Path) -> None:
    """Two kinds of samples, one with the teacher's gradient: its likelihood must rise."""
    matching = make_matching(
        tmp_path, score_dropout=False, match_learning_rate=1e-2, learner_updates="head"
    )
    matching.learner.reset(0)
    labels = matching._labels
    teacher = tuple(np.flatnonzero(labels == label)[:3] for label in (0, 1))
    strangers = tuple(np.flatnonzero(labels == 1 - label)[:3] for label in (0, 1))
    picks = tuple(
        np.concatenate([own, other]) for own, other in zip(teacher, strangers, strict=True)
    )
    pool = SamplePool(matching._sequences, matching._real, (), 0)
    optimizer = torch.optim.SGD(matching.generator.model.parameters(), lr=20.0)
    similarity = []
    for _ in range(15):
        optimizer.zero_grad()
        matches = matching.accumulate(0, picks, pool, teacher, NO_REPLAY)
        similarity.append(np.mean([m.alignment.similarity for m in matches]))
        optimizer.step()
    assert similarity[-1] > similarity[0]


def test_a_frozen_encoder_gives_the_same_match_as_one_that_was_never_trained(
    tmp_path: Path,
) -> None:
    frozen = make_matching(tmp_path, learner_updates="head", score_dropout=False)
    whole = make_matching(tmp_path, learner_updates="all", score_dropout=False)
    gradients = [generator_gradient(m, *prepared(m)) for m in (frozen, whole)]
    scale = float(gradients[0].abs().max())
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4 * scale)

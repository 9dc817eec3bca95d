"""What learned rows are matched to: the recorded experts, repeated and drawn as promised."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from matching_world import instructions, make_context, small

from harness.kit.trajectories.inner_loop.steps import InnerLoop
from harness.kit.trajectories.pseudo_prompts import prompts_of
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS
from harness_trajectory.expert_segments import ExpertSegments, train_experts
from harness_trajectory.proxies import build_proxy
from memory_cache import MemoryCache


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"expert_optimizer": "sgd", "expert_momentum": 0.5, "expert_learning_rate": 0.1},
        {"expert_optimizer": "sgd", "expert_learning_rate": 0.1},
    ],
    ids=["adam", "momentum", "sgd"],
)
def test_an_experts_own_batches_with_its_own_rate_and_memory_end_where_it_went(
    tmp_path: Path, cache: MemoryCache, options: dict[str, Any]
) -> None:
    task, context, method = instructions(), make_context(tmp_path, cache), small(**options)
    proxy = build_proxy(method, task, context)
    segments = ExpertSegments(proxy, train_experts(proxy, method, task, context), method)
    everything = prompts_of(proxy.pool, range(24), proxy.tokenizer.all_special_ids)
    rows = proxy.trainable(everything)
    segment = segments.measured()[0]
    updates = slice(segment.start * method.every, segment.target * method.every)
    own = segments.trajectories.batches[segment.expert, updates]
    batches = [torch.from_numpy(batch.astype(np.int64)) for batch in own]
    loop = InnerLoop(rows.loss, segments.optimizer, batches)
    learned = {EMBEDDINGS: rows.pseudo.initial(proxy.view)}
    rate = torch.tensor(method.expert_learning_rate)
    end = loop.states(segments.start(segment), learned, rate)[-1].theta
    target = segments.target(segment)
    assert float(target.loss("squared")(end)) < 1e-6
    other = loop.states(segments.start(segment), learned, 2 * rate)[-1].theta
    assert float(target.loss("squared")(other)) > 1e-2


def bare(**options: Any) -> ExpertSegments:
    """Without experts, for what does not look at them."""
    proxy = SimpleNamespace(device=torch.device("cpu"))
    manifest = SimpleNamespace(options=SimpleNamespace(experts=3, states=5))
    known = {"expert_optimizer": "sgd", "experts": 3, **options}
    return ExpertSegments(
        cast("Any", proxy), cast("Any", SimpleNamespace(manifest=manifest)), small(**known)
    )


def test_inner_batches_see_every_row_equally_often_and_none_is_short() -> None:
    segments = bare(inner_steps=6, inner_batch=4)
    loop = segments.inner_loop(cast("Any", None), 8, np.random.default_rng(0))
    assert [len(batch) for batch in loop.batches] == [4] * 6
    seen = Counter(row for batch in loop.batches for row in batch.tolist())
    assert seen == dict.fromkeys(range(8), 3)


def test_a_batch_of_zero_is_all_rows() -> None:
    loop = bare(inner_batch=0).inner_loop(cast("Any", None), 5, np.random.default_rng(0))
    assert all(sorted(batch.tolist()) == list(range(5)) for batch in loop.batches)


def test_held_out_experts_are_measured_on_and_never_drawn() -> None:
    segments = bare(held_out=1, first_start=1, max_start=3, span=2)
    generator = np.random.default_rng(0)
    drawn = [segments.draw(generator) for _ in range(60)]
    assert {segment.expert for segment in drawn} == {0, 1}
    assert {(segment.start, segment.target) for segment in drawn} == {(1, 3), (2, 4)}
    measured = segments.measured()
    assert [(s.expert, s.start, s.target) for s in measured] == [(2, 1, 3), (2, 2, 4)]


def test_without_held_out_experts_all_are_measured_on() -> None:
    measured = bare(held_out=0).measured()
    assert {segment.expert for segment in measured} == {0, 1, 2}

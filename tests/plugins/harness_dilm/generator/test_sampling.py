"""Sampling draws from the nucleus of the model's distribution, and well-formed rows come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from dilm_world import make_task
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import TopPLogitsWarper

from harness import HarnessError
from harness.context import StageContext
from harness.types import TaskData
from harness_dilm.generator.model import Generator
from harness_dilm.generator.sampling import nucleus_sample, sample
from harness_dilm.generator.synthesis import synthesise
from harness_dilm.options import LanguageModelOptions


def nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """The distribution that `transformers` samples from."""
    return TopPLogitsWarper(top_p)(torch.empty(0), logits).softmax(-1)


@pytest.mark.parametrize("top_p", [0.3, 0.7, 0.95, 1.0])
def test_tokens_follow_the_nucleus_distribution(top_p: float) -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 12, generator=rng) * 2
    draws = 40_000
    uniforms = torch.rand(draws, 2, generator=rng)
    tokens = nucleus_sample(logits.expand(draws, -1), top_p, uniforms)
    expected = nucleus(logits.double(), top_p)[0]
    counts = torch.bincount(tokens, minlength=12)
    assert (counts[expected == 0] == 0).all()
    kept = expected > 0
    if kept.sum() > 1:
        assert chisquare(counts[kept], draws * expected[kept]).pvalue > 1e-3


def test_without_a_nucleus_every_token_can_come() -> None:
    """There is no top-k: with 200 equal logits, 200 tokens are drawn."""
    uniforms = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(1))
    assert len(nucleus_sample(torch.zeros(20_000, 200), 1.0, uniforms).unique()) == 200


@given(st.floats(0.01, 1.0), st.floats(0, 1, exclude_max=True), st.integers(0, 2**31))
def test_a_token_outside_the_nucleus_never_comes(top_p: float, u: float, seed: int) -> None:
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(seed)) * 3
    logits[:, 2] = -torch.inf
    uniforms = torch.full((4, 2), u)
    tokens = nucleus_sample(logits, top_p, uniforms)
    assert (nucleus(logits, min(1.0, top_p + 1e-5)).gather(1, tokens[:, None]) > 0).all()


@pytest.mark.parametrize("u", [0.0, 1 - 2**-24])
def test_extreme_draws_avoid_forbidden_tokens_at_the_ends(u: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf]])
    assert nucleus_sample(logits, 0.9, torch.full((1, 2), u)).item() in (1, 2)


def test_cached_sampling_follows_the_model_without_cache(
    generator: Generator,
) -> None:
    """With the temperature near zero the sampled row is the argmax chain of full forwards."""
    with torch.no_grad():
        embeddings = generator.model.get_input_embeddings().weight
        embeddings.mul_(60.0)
    labels = np.array([0, 1, 1, 0, 1])
    samples = sample(
        generator, labels, top_p=1e-6, max_new_tokens=10, rng=torch.Generator().manual_seed(0)
    )
    forbidden = ~generator.sampleable
    for ids, complete, label in zip(samples.ids, samples.complete, labels, strict=True):
        chain = [generator.format.class_ids[label]]
        for _ in range(10):
            with torch.no_grad():
                logits = generator.model(torch.tensor([chain])).logits[0, -1]
            chain.append(int(logits.masked_fill(forbidden, -torch.inf).argmax()))
            if chain[-1] == generator.format.end:
                break
        assert ids.tolist() == chain
        assert complete == (chain[-1] == generator.format.end)


@pytest.mark.parametrize("fields", [1, 2, 3])
def test_samples_hold_no_structure_but_their_own(
    make_generator: Callable[..., Generator], fields: int
) -> None:
    generator = make_generator(make_task(fields=fields))
    form = generator.format
    with torch.no_grad():
        bias = generator.model.get_output_embeddings().weight
        bias[[form.separator, form.pad, form.end, *form.class_ids]] *= 40
    labels = np.arange(60) % 2
    samples = sample(
        generator, labels, top_p=1.0, max_new_tokens=20, rng=torch.Generator().manual_seed(0)
    )
    assert samples.complete.any()
    for ids, complete, label in zip(samples.ids, samples.complete, labels, strict=True):
        assert ids[0] == form.class_ids[label]
        assert not np.isin(ids[1:], [form.pad, *form.class_ids]).any()
        assert (ids == form.separator).sum() <= fields - 1
        assert (ids == form.end).sum() == complete
        assert not complete or ids[-1] == form.end
        assert len(ids) <= 21


def test_samples_do_not_pass_the_position_limit(
    make_generator: Callable[..., Generator], task: TaskData
) -> None:
    generator = make_generator(task, max_length=9)
    samples = sample(
        generator,
        np.zeros(5, np.int64),
        top_p=1.0,
        max_new_tokens=50,
        rng=torch.Generator().manual_seed(0),
    )
    assert max(map(len, samples.ids)) <= 9


def test_dropping_finished_rows_leaves_the_others_as_they_were(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greedy chains are the same whether the batch shrinks at every step or never."""
    with torch.no_grad():
        generator.model.get_input_embeddings().weight.mul_(30.0)

    def chains(threshold: float) -> list[list[int]]:
        monkeypatch.setattr("harness_dilm.generator.sampling.COMPACT_AT", threshold)
        samples = sample(
            generator,
            np.arange(24) % 2,
            top_p=0.6,
            max_new_tokens=20,
            rng=_Halves(),  # type: ignore[arg-type]
        )
        return [ids.tolist() for ids in samples.ids]

    monkeypatch.setattr(
        "torch.rand", lambda n, m, generator: torch.full((n, m), next(generator.values))
    )
    assert chains(2.0) == chains(0.0)


class _Halves:
    """A stand-in random stream with one number a step, the same for all rows."""

    def __init__(self) -> None:
        self.values = iter(np.random.default_rng(0).random(100).astype(np.float32))


def test_every_class_gets_its_rows_and_malformed_ones_are_drawn_again(
    make_generator: Callable[..., Generator], pair_task: TaskData, context: StageContext
) -> None:
    generator = make_generator(pair_task)
    with torch.no_grad():
        generator.model.get_output_embeddings().weight[generator.format.separator] *= 30
    options = LanguageModelOptions(generation_batch=16, max_failures=50)
    rows = synthesise(generator, [7, 12], 24, options, context, "test")
    assert np.bincount(rows.labels).tolist() == [7, 12]
    assert rows.malformed > 0
    assert all(generator.format.is_well_formed(fields) for fields in rows.fields)
    assert rows.dataset([0, 8]).column_names == ["text0", "text1", "label"]
    for ids, label in zip(rows.sequences.ids, rows.labels, strict=True):
        assert ids[0] == generator.format.class_ids[label]


def test_a_generator_that_never_separates_fields_is_an_error_with_a_way_out(
    make_generator: Callable[..., Generator], pair_task: TaskData, context: StageContext
) -> None:
    generator = make_generator(pair_task)
    blocked = replace(generator, sampleable=torch.zeros_like(generator.sampleable))
    blocked.sampleable[generator.format.end] = True
    with torch.no_grad():
        generator.model.get_input_embeddings().weight.zero_()
        generator.model.get_input_embeddings().weight[generator.format.end] = 1.0
    options = LanguageModelOptions(generation_batch=32, top_p=0.01)
    with pytest.raises(HarnessError, match=r"malformed samples.*\n.*lm_steps"):
        synthesise(blocked, [100, 100], 10, options, context, "test")


def test_streams_are_reproducible_and_differ_by_name(
    generator: Generator, context: StageContext
) -> None:
    options = LanguageModelOptions(max_failures=50)
    first, again, other = (
        synthesise(generator, [5, 5], 10, options, context, "pool", n).fields for n in (1, 1, 2)
    )
    assert first == again != other


def test_joined_rows_stay_sorted_and_counted(generator: Generator, context: StageContext) -> None:
    options = LanguageModelOptions(max_failures=50)
    left = synthesise(generator, [3, 2], 10, options, context, "a")
    right = synthesise(generator, [1, 4], 10, options, context, "b")
    both = left.joined(right)
    assert both.labels.tolist() == [0] * 4 + [1] * 6
    assert both.fields[:3] == left.fields[:3]
    assert both.fields[3] == right.fields[0]
    assert both.malformed == left.malformed + right.malformed

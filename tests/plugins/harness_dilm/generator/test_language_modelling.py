"""A row's loss, and the class-conditional training, against slow and plain computations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from dilm_world import in_float64, make_context

from harness import HarnessError
from harness.kit.training.batching import EncodedRows
from harness.randomness import seeded
from harness.types import TaskData
from harness_dilm.generator.language_modelling import (
    backward_language_loss,
    divisors,
    score,
    sequence_losses,
    train_language_model,
)
from harness_dilm.generator.model import Generator
from harness_dilm.options import LanguageModelOptions


def sequences(generator: Generator, task: TaskData, count: int = 12) -> EncodedRows:
    return generator.format.encode(task.train.select(range(count)), generator.max_length)


def slow_nll(generator: Generator, ids: np.ndarray) -> torch.Tensor:
    """One row at a time, one token at a time, no padding."""
    with torch.no_grad():
        logits = generator.model(torch.from_numpy(ids)[None]).logits[0]
    logs = logits.log_softmax(-1)
    return -sum(logs[t, ids[t + 1]] for t in range(len(ids) - 1))


def test_losses_equal_those_of_single_rows(generator: Generator, task: TaskData) -> None:
    generator = in_float64(generator)
    rows = sequences(generator, task)
    with generator.mode(dropout=False):
        losses = sequence_losses(generator, rows, np.ones(len(rows)))
    expected = torch.stack([slow_nll(generator, ids) for ids in rows.ids])
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=0)


def test_the_end_token_counts_once_a_row_and_pads_never(
    generator: Generator, task: TaskData
) -> None:
    """With uniform predictions a row's loss is its number of predicted tokens times log V."""
    rows = sequences(generator, task)
    with torch.no_grad():
        for parameter in generator.model.parameters():
            parameter.zero_()
    losses = score(generator, rows, "own") * (rows.lengths - 1)
    expected = (rows.lengths - 1) * np.log(len(generator.sampleable))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert len(set(rows.lengths)) > 1


def test_one_long_row_moves_the_batch_normaliser_and_not_the_own_one() -> None:
    short = np.array([9, 10, 12])
    long = np.append(short, 30)
    np.testing.assert_array_equal(divisors(short, "batch"), [15, 15, 15])
    np.testing.assert_array_equal(divisors(long, "batch"), [31, 31, 31, 31])
    np.testing.assert_array_equal(divisors(short, "own"), short - 1)
    np.testing.assert_array_equal(divisors(long, "own")[:3], divisors(short, "own"))


@pytest.mark.parametrize("normalise", ["batch", "own"])
def test_gradient_in_groups_equals_that_of_the_padded_batch(
    generator: Generator, task: TaskData, normalise: str
) -> None:
    generator = in_float64(generator)
    rows = sequences(generator, task)
    mean = backward_language_loss(generator, rows, normalise, share=0.5)  # type: ignore[arg-type]
    grouped = {n: p.grad.clone() for n, p in generator.model.named_parameters()}
    generator.model.zero_grad()

    inputs = rows.pad(range(len(rows)), generator.format.pad, "cpu")
    logs = generator.model(**inputs).logits.log_softmax(-1)[:, :-1]
    targets = inputs["input_ids"][:, 1:]
    picked = -logs.gather(2, targets[..., None])[..., 0] * inputs["attention_mask"][:, 1:]
    per_row = picked.sum(1) / torch.from_numpy(divisors(rows.lengths, normalise))  # type: ignore[arg-type]
    (0.5 * per_row.mean()).backward()

    assert mean == pytest.approx(per_row.mean().item(), rel=1e-10)
    for name, parameter in generator.model.named_parameters():
        torch.testing.assert_close(grouped[name], parameter.grad, rtol=1e-8, atol=1e-12)


def test_training_lowers_the_loss_and_tells_the_classes_apart(
    make_generator: Callable[..., Generator], task: TaskData, tmp_path: Path
) -> None:
    generator = make_generator(task, tiny_dropout=0.0)
    rows = sequences(generator, task, 40)
    options = LanguageModelOptions(lm_steps=150, lm_batch_size=16, lm_learning_rate=2e-2)
    losses = train_language_model(generator, rows, options, make_context(tmp_path))
    assert losses.shape == (150,)
    assert losses[-20:].mean() < 0.5 * losses[:5].mean()

    swapped = EncodedRows(ids=tuple(ids.copy() for ids in rows.ids))
    for ids, label in zip(swapped.ids, task.train["label"], strict=True):
        ids[0] = generator.format.class_ids[1 - label]
    assert score(generator, rows, "own").mean() < score(generator, swapped, "own").mean() - 0.1


def test_training_is_reproducible_whatever_the_global_seed(
    make_generator: Callable[..., Generator], task: TaskData, tmp_path: Path
) -> None:
    options = LanguageModelOptions(lm_steps=4, lm_batch_size=8, lm_learning_rate=1e-2)
    results = []
    for seed in (0, 1):
        generator = make_generator(task, tiny_dropout=0.3)
        with seeded(seed):
            train_language_model(
                generator, sequences(generator, task, 40), options, make_context(tmp_path)
            )
        results.append(generator.parameters())
    assert all(np.array_equal(results[0][name], results[1][name]) for name in results[0])


def test_a_diverging_run_says_so(generator: Generator, task: TaskData, tmp_path: Path) -> None:
    with torch.no_grad():
        generator.model.get_input_embeddings().weight.fill_(torch.nan)
    options = LanguageModelOptions(lm_steps=2, lm_batch_size=4)
    with pytest.raises(HarnessError, match="training the language model diverged at step 1"):
        train_language_model(generator, sequences(generator, task), options, make_context(tmp_path))

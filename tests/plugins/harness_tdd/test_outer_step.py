"""The outer loop: exact gradients, labels that stay probabilities, and a loss that falls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tdd_world import DoubleCheckpoint, make_learning, planted
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.errors import DivergenceError
from harness.kit.trajectories.inner_loop.engines import OuterGradient, adjoint
from harness.kit.trajectories.inner_loop.inner_losses import LABELS
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS
from harness_tdd import outer_step as module
from harness_tdd.measuring import Stage, stage_loss
from harness_tdd.outer_step import CURVES, Learning, Learnt

SUBSET = "*.layer.1.*,classifier.*"


def perturbed(learning: Learning) -> Learnt:
    """Not the start, where labels and vectors are special."""
    draw = torch.Generator().manual_seed(1)
    start = learning.start()

    def moved(tensor: Tensor, size: float) -> Tensor:
        return tensor + size * torch.randn(tensor.shape, generator=draw, dtype=tensor.dtype)

    return replace(
        start, vectors=moved(start.vectors, 0.05), label_logits=moved(start.label_logits, 0.5)
    )


def by_hand(learning: Learning, state: Learnt) -> dict[str, Tensor]:
    """Plain autograd through gradient descent or Adam, written out, on the module itself."""
    proxy, pseudo = learning.starts.proxy, learning.rows.pseudo
    loop, begun, _, _, outer = learning.problem(state, 0)
    vectors = state.vectors.clone().requires_grad_()
    logits = state.label_logits.clone().requires_grad_()
    rho = state.log_step_size.clone().requires_grad_()
    model, table = proxy.model, proxy.model.get_input_embeddings().weight.detach()
    parameters = {
        name: part.clone().requires_grad_()
        for name, part in proxy.layout.split(begun.theta).items()
    }
    frozen = {n: p.detach() for n, p in model.named_parameters() if n not in parameters}
    first = {name: torch.zeros_like(part) for name, part in parameters.items()}
    second = dict(first)
    embeds = torch.where(pseudo.mask[..., None], vectors, table[pseudo.ids])
    present = (torch.arange(embeds.shape[1]) < torch.tensor(pseudo.rows.lengths)[:, None]).long()
    kinds = torch.zeros_like(present)
    for step, members in enumerate(loop.chunks, 1):
        inputs = {"attention_mask": present[members], "token_type_ids": kinds[members]}
        found = functional_call(
            model, {**frozen, **parameters}, (), {"inputs_embeds": embeds[members], **inputs}
        ).logits
        targets = logits[members].softmax(1)
        if not learning.options.soft_labels:
            targets = functional.one_hot(learning.labels[members], 2).to(logits)
        loss = -(targets * found.log_softmax(1)).sum(1).mean()
        slopes = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
        for name, slope in zip(list(parameters), slopes, strict=True):
            direction = slope
            if learning.options.inner_optimizer == "adam":
                first[name] = 0.9 * first[name] + 0.1 * slope
                second[name] = 0.999 * second[name] + 0.001 * slope**2
                # A first moment of zero has a root without a slope.
                moving = second[name] > 0
                root = (torch.where(moving, second[name], 1.0) / (1 - 0.999**step)).sqrt() * moving
                direction = first[name] / (1 - 0.9**step) / (root + 1e-8)
            parameters[name] = parameters[name] - rho.exp() * direction
    value = outer(proxy.layout.flatten(parameters))
    leaves = {EMBEDDINGS: vectors, LABELS: logits, "rho": rho}
    slopes = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
    return {"loss": value.detach(), **dict(zip(leaves, slopes, strict=True))}


@pytest.mark.parametrize(
    "options",
    [
        {"inner_steps": 3},
        {"inner_steps": 3, "parameters": SUBSET, "inner_batch": 2},
        {"inner_steps": 2, "soft_labels": False},
        {"inner_steps": 2, "inner_optimizer": "adam", "step_size": 1e-3},
    ],
    ids=["descent", "subset-and-batches", "hard-labels", "adam"],
)
def test_the_gradient_is_that_of_plain_autograd_through_the_inner_steps(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    learning = make_learning(tmp_path, student=DoubleCheckpoint("tiny"), **options)
    state = perturbed(learning)
    found = learning.gradient(state, 0)
    with sdpa_kernel(SDPBackend.MATH):
        expected = by_hand(learning, state)
    assert found.loss == pytest.approx(float(expected["loss"]), rel=1e-9)
    scale = float(expected[EMBEDDINGS].abs().max())
    torch.testing.assert_close(
        found.learned[EMBEDDINGS], expected[EMBEDDINGS], rtol=1e-6, atol=1e-7 * scale
    )
    assert found.log_step_size == pytest.approx(float(expected["rho"]), rel=1e-6)
    if learning.options.soft_labels:
        torch.testing.assert_close(found.learned[LABELS], expected[LABELS], rtol=1e-6, atol=1e-12)
    else:
        assert LABELS not in found.learned


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory) -> Learning:
    return make_learning(tmp_path_factory.mktemp("learning"))


@pytest.fixture(scope="module")
def known(learning: Learning) -> OuterGradient:
    return learning.gradient(learning.start(), 0)


@given(
    slopes=st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=12, max_size=12), min_size=1, max_size=6
    ),
    rate=st.floats(0, 10),
)
def test_soft_labels_never_leave_the_simplex(
    learning: Learning, known: OuterGradient, slopes: list[list[float]], rate: float
) -> None:
    own = replace(learning, options=replace(learning.options, label_learning_rate=rate))
    state, gradient = own.start(), known
    names = (*gradient.learned, "log_step_size")
    leaves = module.leaves(state)
    moments = {n: (torch.zeros_like(leaves[n]), torch.zeros_like(leaves[n])) for n in names}
    for step, slope in enumerate(slopes):
        wanted = {**gradient.learned, LABELS: torch.tensor(slope).reshape(6, 2)}
        state = own.updated(state, replace(gradient, learned=wanted), moments, step % 4)
    labels = state.soft_labels
    assert np.isfinite(labels).all()
    assert (labels >= 0).all()
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-12)


def test_labels_begin_at_the_rows_own_classes_smoothed(learning: Learning) -> None:
    start = learning.start()
    own = learning.labels.numpy()
    assert start.soft_labels[np.arange(6), own] == pytest.approx(0.95)
    assert float(start.step_size) == pytest.approx(0.5)


def test_learning_lowers_the_loss_of_rows_and_heads_never_learned_from(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "parameters": "classifier.*", "outer_steps": 20, "heads": 4, "real_batch": 20,
        "learning_rate": 0.5,
    }  # fmt: skip
    learning = make_learning(tmp_path, task=planted(), **options)
    learnt = learning.run()
    real = {EMBEDDINGS: learning.start().vectors}
    rows, rate = learning.rows, learning.start().step_size
    before = stage_loss(learning, Stage(rows, real, rate))
    at_rate = stage_loss(learning, Stage(rows, real, learnt.step_size))
    after = stage_loss(learning, Stage(rows, learning.learned(learnt), learnt.step_size))
    assert before is not None
    assert after is not None
    assert after < before - 0.05
    assert at_rate is None or after < at_rate - 0.05
    assert np.mean(learnt.curves["loss"][-5:]) < np.mean(learnt.curves["loss"][:5])
    assert {len(learnt.curves[name]) for name in CURVES} == {20}


def test_positions_that_are_not_learned_stay_zero(learning: Learning) -> None:
    learnt = learning.run()
    assert float(learnt.vectors[~learning.rows.pseudo.mask].abs().max()) == 0


def test_without_soft_labels_none_are_learned(tmp_path: Path) -> None:
    learning = make_learning(tmp_path, soft_labels=False)
    torch.testing.assert_close(learning.run().label_logits, learning.start().label_logits)


def test_what_was_learned_is_read_back_as_it_was(learning: Learning) -> None:
    learnt = learning.run()
    again = Learnt.of_arrays(learnt.arrays(), torch.device("cpu"))
    assert again.log_step_size.shape == ()
    assert torch.equal(again.vectors, learnt.vectors)
    assert torch.equal(again.label_logits, learnt.label_logits)
    assert float(again.step_size) == float(learnt.step_size)
    np.testing.assert_array_equal(again.curves["loss"], learnt.curves["loss"])


def fails_from(step: int, value: Any) -> Any:
    """An engine that works for `step` steps, and then gives or raises `value`."""
    calls = 0

    def engine(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls <= step:
            return adjoint(*arguments)
        if isinstance(value, Exception):
            raise value
        return replace(adjoint(*arguments), loss=value)

    return engine


@pytest.mark.parametrize("value", [DivergenceError("diverged"), 1e3], ids=["stopped", "exploded"])
def test_a_diverging_loop_ends_learning_at_the_last_rows_whose_loop_did_not(
    learning: Learning, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    whole = replace(learning, options=replace(learning.options, outer_steps=4))
    known = []
    updated = Learning.updated

    def noted(self: Learning, state: Learnt, *rest: Any) -> Learnt:
        known.append(state)
        return updated(self, state, *rest)

    monkeypatch.setattr(Learning, "updated", noted)
    monkeypatch.setattr(module, "adjoint", fails_from(2, value))
    learnt = whole.run()
    assert learnt.diverged == 2
    assert torch.equal(learnt.vectors, known[1].vectors)
    assert len(learnt.curves["loss"]) == 2


def test_a_loop_that_diverges_at_once_is_an_error(
    learning: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "adjoint", fails_from(0, DivergenceError("diverged")))
    with pytest.raises(DivergenceError, match="before anything was learned"):
        learning.run()

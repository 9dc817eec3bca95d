"""Outer steps: exact gradients, labels that stay probabilities, and a loss that falls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tdd_world import DoubleCheckpoint, make_matching, planted
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.errors import DivergenceError
from harness.kit.files.resume_point import ResumePoint
from harness.kit.trajectories.inner_loop.engines import OuterGradient
from harness.kit.trajectories.inner_loop.inner_losses import LABELS
from harness.kit.trajectories.outer_loop import OuterLoop, OuterState
from harness.kit.trajectories.proxies import SyntheticData
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS
from harness_tdd import outer_step as module
from harness_tdd.measuring import held_out_loss
from harness_tdd.outer_step import CURVES, LOG_STEP_SIZE, VECTORS, PerformanceMatching

SUBSET = "*.layer.1.*,classifier.*"


def perturbed(matching: PerformanceMatching) -> OuterState:
    """Not the start, where labels and vectors are special."""
    draw = torch.Generator().manual_seed(1)
    start = matching.start()

    def moved(tensor: Tensor, size: float) -> Tensor:
        return tensor + size * torch.randn(tensor.shape, generator=draw, dtype=tensor.dtype)

    vectors, labels = start.learned[VECTORS], start.learned[LABELS]
    learned = {**start.learned, VECTORS: moved(vectors, 0.05), LABELS: moved(labels, 0.5)}
    return replace(start, learned=learned)


def learn(matching: PerformanceMatching) -> OuterState:
    """All outer steps."""
    options, context = matching.options, matching.context
    loop = OuterLoop("tdd", matching.start(), matching.step, options.outer_steps, context)
    with TemporaryDirectory() as folder:
        return loop.run(ResumePoint(Path(folder) / "learning.safetensors", {}))


def soft_labels(state: OuterState) -> np.ndarray:
    return state.learned[LABELS].double().softmax(-1).numpy()


def by_hand(matching: PerformanceMatching, state: OuterState) -> dict[str, Tensor]:
    """Plain autograd through gradient descent or Adam, written out, on the module itself."""
    proxy, pseudo = matching.initial.proxy, matching.rows.pseudo
    loop, begun, _, _, outer = matching.problem(state)
    vectors = state.learned[VECTORS].clone().requires_grad_()
    logits = state.learned[LABELS].clone().requires_grad_()
    rho = state.learned[LOG_STEP_SIZE].clone().requires_grad_()
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
    for step, members in enumerate(loop.batches, 1):
        inputs = {"attention_mask": present[members], "token_type_ids": kinds[members]}
        found = functional_call(
            model, {**frozen, **parameters}, (), {"inputs_embeds": embeds[members], **inputs}
        ).logits
        targets = logits[members].softmax(1)
        if not matching.options.soft_labels:
            targets = functional.one_hot(matching.labels[members], 2).to(logits)
        loss = -(targets * found.log_softmax(1)).sum(1).mean()
        slopes = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
        for name, slope in zip(list(parameters), slopes, strict=True):
            direction = slope
            if matching.options.inner_optimizer == "adam":
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
    matching = make_matching(tmp_path, student=DoubleCheckpoint("tiny"), **options)
    state = perturbed(matching)
    found = matching.gradient(state)
    with sdpa_kernel(SDPBackend.MATH):
        expected = by_hand(matching, state)
    assert found.loss == pytest.approx(float(expected["loss"]), rel=1e-9)
    scale = float(expected[EMBEDDINGS].abs().max())
    torch.testing.assert_close(
        found.learned[EMBEDDINGS], expected[EMBEDDINGS], rtol=1e-6, atol=1e-7 * scale
    )
    assert found.log_step_size == pytest.approx(float(expected["rho"]), rel=1e-6)
    if matching.options.soft_labels:
        torch.testing.assert_close(found.learned[LABELS], expected[LABELS], rtol=1e-6, atol=1e-12)
    else:
        assert LABELS not in found.learned


@pytest.fixture(scope="module")
def matching(tmp_path_factory: pytest.TempPathFactory) -> PerformanceMatching:
    return make_matching(tmp_path_factory.mktemp("matching"))


@pytest.fixture(scope="module")
def known(matching: PerformanceMatching) -> OuterGradient:
    return matching.gradient(matching.start())


@given(
    slopes=st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=12, max_size=12), min_size=1, max_size=6
    ),
    rate=st.floats(0, 10),
)
def test_soft_labels_never_leave_the_simplex(
    matching: PerformanceMatching, known: OuterGradient, slopes: list[list[float]], rate: float
) -> None:
    options = replace(matching.options, label_learning_rate=rate, outer_steps=6)
    own = replace(matching, options=options)
    state = own.start()
    wanted = iter(slopes)

    def engine(*problem: Any) -> OuterGradient:
        labels = torch.tensor(next(wanted)).reshape(6, 2)
        return replace(known, learned={**known.learned, LABELS: labels})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "adjoint", engine)
        for _ in slopes:
            state = own.step(state)
    labels = soft_labels(state)
    assert np.isfinite(labels).all()
    assert (labels >= 0).all()
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-12)


def test_labels_begin_at_the_rows_own_classes_smoothed(matching: PerformanceMatching) -> None:
    start = matching.start()
    own = matching.labels.numpy()
    assert soft_labels(start)[np.arange(6), own] == pytest.approx(0.95)
    assert float(start.learned[LOG_STEP_SIZE].exp()) == pytest.approx(0.5)


def test_learning_lowers_the_loss_of_rows_and_heads_never_learned_from(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "parameters": "classifier.*", "outer_steps": 20, "heads": 4, "real_batch": 20,
        "learning_rate": 0.5,
    }  # fmt: skip
    matching = make_matching(tmp_path, task=planted(), **options)
    state = learn(matching)
    initial, learned = (matching.synthetic_data(each) for each in (matching.start(), state))
    real = {EMBEDDINGS: initial.learned[EMBEDDINGS]}
    before = held_out_loss(matching, replace(initial, learned=real))
    at_rate = held_out_loss(matching, SyntheticData(matching.rows, real, learned.step_size))
    after = held_out_loss(matching, learned)
    assert before is not None
    assert after is not None
    assert after < before - 0.05
    assert at_rate is None or after < at_rate - 0.05
    assert np.mean(state.curves["loss"][-5:]) < np.mean(state.curves["loss"][:5])
    assert {len(state.curves[name]) for name in CURVES} == {20}


def test_positions_that_are_not_learned_stay_zero(matching: PerformanceMatching) -> None:
    vectors = learn(matching).learned[VECTORS]
    assert float(vectors[~matching.rows.pseudo.mask].abs().max()) == 0


def test_without_soft_labels_none_are_learned(tmp_path: Path) -> None:
    matching = make_matching(tmp_path, soft_labels=False)
    torch.testing.assert_close(learn(matching).learned[LABELS], matching.start().learned[LABELS])


def test_a_loss_of_real_rows_that_exploded_is_a_diverged_inner_loop(
    matching: PerformanceMatching, known: OuterGradient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "adjoint", lambda *problem: replace(known, loss=1e3))
    with pytest.raises(DivergenceError, match=r"the loss of real rows is 1e\+03"):
        matching.step(matching.start())

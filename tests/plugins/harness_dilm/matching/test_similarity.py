"""The matching loss and its gradients, in float64, against automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dilm_world import LEARNERS, in_float64, make_classifier, make_rows, make_task
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.kit.text.classifier import TextClassifier
from harness_dilm.generator.language_modelling import divisors, sequence_losses
from harness_dilm.generator.model import Generator
from harness_dilm.matching.full_network import NetworkBatch, matched_parameters
from harness_dilm.matching.similarity import (
    Alignment,
    HeadBatch,
    Match,
    align,
    backward_matching_loss,
    sample_weights,
)


def double_head(features: int, classes: int, *, bias: bool = True, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(features, classes, bias=bias).double()


def weighted_gradient(
    head: nn.Linear, features: Tensor, label: int, weights: Tensor
) -> tuple[Tensor, ...]:
    """By automatic differentiation of sum_i w_i CE_i."""
    targets = torch.full((len(features),), label)
    losses = F.cross_entropy(head(features), targets, reduction="none")
    return torch.autograd.grad((weights * losses).sum(), list(head.parameters()), create_graph=True)


def naive_loss(real: tuple[Tensor, ...], synthetic: tuple[Tensor, ...]) -> Tensor:
    flat = [torch.cat([leaf.flatten() for leaf in leaves]) for leaves in (real, synthetic)]
    return 1 - F.cosine_similarity(flat[0], flat[1], dim=0, eps=0)


@given(
    classes=st.integers(2, 5),
    rows=st.integers(1, 6),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_closed_form_head_gradient_equals_autograd(
    classes: int, rows: int, bias: bool, seed: int
) -> None:
    head = double_head(4, classes, bias=bias, seed=seed)
    features = torch.randn(rows, 4, dtype=torch.float64)
    weights = torch.rand(rows, dtype=torch.float64)
    batch = HeadBatch.at(head, features, seed % classes)
    expected = weighted_gradient(head, features, seed % classes, weights)
    for got, wanted in zip(batch.gradient(weights), expected, strict=True):
        torch.testing.assert_close(got, wanted.detach(), rtol=1e-10, atol=1e-12)


@given(
    classes=st.integers(2, 5),
    bias=st.booleans(),
    temperature=st.floats(0.2, 5.0),
    seed=st.integers(0, 1000),
)
def test_gradient_in_the_generator_losses_equals_double_backward(
    classes: int, bias: bool, temperature: float, seed: int
) -> None:
    head = double_head(6, classes, bias=bias, seed=seed)
    real, synthetic = torch.randn(2, 7, 6, dtype=torch.float64)
    losses = torch.randn(7, dtype=torch.float64, requires_grad=True)
    label = seed % classes

    target = HeadBatch.at(head, real, label).mean_gradient()
    weights = sample_weights(losses, temperature)
    match = HeadBatch.at(head, synthetic, label).match(target, weights.detach())
    backward_matching_loss([weights], [match])
    got, losses.grad = losses.grad, None

    uniform = torch.full((7,), 1 / 7, dtype=torch.float64)
    expected = naive_loss(
        tuple(leaf.detach() for leaf in weighted_gradient(head, real, label, uniform)),
        weighted_gradient(head, synthetic, label, torch.softmax(-losses / temperature, 0)),
    )
    expected.backward()
    assert 1 - match.alignment.similarity == pytest.approx(expected.item(), abs=1e-10)
    torch.testing.assert_close(got, losses.grad, rtol=1e-6, atol=1e-10)


def test_weights_favour_likely_samples_and_sharpen_as_the_temperature_falls() -> None:
    losses = torch.tensor([1.0, 2.0, 3.0])
    warm, cold = sample_weights(losses, 10.0), sample_weights(losses, 0.1)
    assert warm.sum() == pytest.approx(1.0)
    assert warm[0] > warm[1] > warm[2]
    assert cold[0] > 0.99 > warm[0]


def test_equal_batches_with_uniform_weights_match_perfectly() -> None:
    head = double_head(5, 3)
    batch = HeadBatch.at(head, torch.randn(8, 5, dtype=torch.float64), 1)
    match = batch.match(batch.mean_gradient(), torch.full((8,), 1 / 8, dtype=torch.float64))
    assert 1 - match.alignment.similarity == pytest.approx(0.0, abs=1e-12)


def test_the_cosine_is_of_weight_and_bias_as_one_vector() -> None:
    real = (torch.tensor([[1.0, 0.0]]), torch.tensor([3.0]))
    synthetic = (torch.tensor([[0.0, 2.0]]), torch.tensor([1.0]))
    one_vector = 3.0 / (10.0**0.5 * 5.0**0.5)
    assert align(real, synthetic).similarity == pytest.approx(one_vector)
    assert one_vector != pytest.approx((0.0 + 1.0) / 2)


@pytest.mark.parametrize("zero", ["real", "synthetic", "both"])
def test_a_zero_gradient_gives_loss_1_and_no_nan(zero: str) -> None:
    ones, zeros = (torch.ones(2, 3), torch.ones(2)), (torch.zeros(2, 3), torch.zeros(2))
    real = zeros if zero in ("real", "both") else ones
    synthetic = zeros if zero in ("synthetic", "both") else ones
    alignment = align(real, synthetic)
    assert alignment.similarity == 0
    assert alignment.degenerate
    assert all((leaf == 0).all() for leaf in alignment.direction)


def test_tiny_gradients_do_not_underflow() -> None:
    leaves = (torch.full((2, 3), 1e-30),)
    alignment = align(leaves, leaves)
    assert alignment.similarity == pytest.approx(1.0) or alignment.degenerate
    assert torch.isfinite(alignment.direction[0]).all()


def test_all_classes_share_one_backward_pass_equally() -> None:
    """The loss is the mean over classes, whatever the number of samples in each."""
    losses = [torch.randn(n, dtype=torch.float64, requires_grad=True) for n in (3, 5)]
    head = double_head(4, 2)

    def match_of(label: int, weights: Tensor) -> tuple[Alignment, Tensor]:
        torch.manual_seed(label)
        real, own = torch.randn(9, 4).double(), torch.randn(len(weights), 4).double()
        target = HeadBatch.at(head, real, label).mean_gradient()
        match = HeadBatch.at(head, own, label).match(target, weights.detach())
        return match.alignment, match.weight_gradient

    weights = [sample_weights(own, 1.0) for own in losses]
    matches = [Match(*match_of(label, own)) for label, own in enumerate(weights)]
    backward_matching_loss(weights, matches, share=0.7)
    for label, own in enumerate(losses):
        alone = own.detach().requires_grad_()
        weight = sample_weights(alone, 1.0)
        weight.backward(0.7 / 2 * match_of(label, weight)[1])
        torch.testing.assert_close(own.grad, alone.grad, rtol=1e-12, atol=0)


def double_classifier(family: str = "bert", columns: tuple[str, ...] = ("text",)) -> TextClassifier:
    classifier = make_classifier(columns, family)
    classifier.model.double()
    return classifier


def autograd_network(
    classifier: TextClassifier,
    names: tuple[str, ...],
    batch: NetworkBatch,
    weights: Tensor,
) -> tuple[Tensor, ...]:
    """One row at a time, through the model itself."""
    parameters = [dict(classifier.model.named_parameters())[name] for name in names]
    total = torch.zeros((), dtype=torch.float64)
    for i, weight in enumerate(weights):
        inputs = batch.rows.pad([i], classifier.pad_id, "cpu")
        # The fused attention kernel has no second derivative.
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            logits = classifier.model(**inputs).logits
        total = total + weight * F.cross_entropy(logits, torch.tensor([batch.label]))
    return torch.autograd.grad(total, parameters, create_graph=True)


@pytest.mark.parametrize("match", ["head", "full"])
def test_network_gradients_equal_autograd_and_double_backward(match: str) -> None:
    classifier = double_classifier()
    encoded = classifier.encode(make_rows(14, 1))
    names = matched_parameters(classifier, match)
    synthetic = NetworkBatch(classifier, names, encoded.take(range(5)), 1)
    real = NetworkBatch(classifier, names, encoded.take(range(5, 14)), 1)
    weights = torch.rand(5, dtype=torch.float64).requires_grad_()
    uniform = torch.full((9,), 1 / 9, dtype=torch.float64)

    got = synthetic.match(real.mean_gradient(), weights.detach())
    target = tuple(g.detach() for g in autograd_network(classifier, names, real, uniform))
    expected = naive_loss(target, autograd_network(classifier, names, synthetic, weights))
    expected.backward()

    assert 1 - got.alignment.similarity == pytest.approx(expected.item(), abs=1e-10)
    torch.testing.assert_close(got.weight_gradient, weights.grad, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("family", LEARNERS)
def test_the_whole_network_restricted_to_the_head_equals_the_closed_form(family: str) -> None:
    classifier = double_classifier(family)
    rows = make_rows(12, 1)
    encoded = classifier.encode(rows)
    names = matched_parameters(classifier, "head")
    features = torch.from_numpy(classifier.embed(rows, "head")).double()
    weights = torch.rand(6, dtype=torch.float64)
    network = [NetworkBatch(classifier, names, encoded.take(range(i, i + 6)), 0) for i in (0, 6)]
    heads = [HeadBatch.at(classifier.head, features[i : i + 6], 0) for i in (0, 6)]
    general = network[0].match(network[1].mean_gradient(), weights)
    closed = heads[0].match(heads[1].mean_gradient(), weights)
    assert general.alignment.similarity == pytest.approx(closed.alignment.similarity, abs=1e-5)
    torch.testing.assert_close(
        general.weight_gradient, closed.weight_gradient, rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize(
    ("family", "head"),
    [("bert", "classifier"), ("roberta", "classifier.out_proj"), ("xlnet", "logits_proj")],
)
def test_head_only_means_the_last_linear_layer_of_every_family(family: str, head: str) -> None:
    classifier = make_classifier(family=family)
    assert set(matched_parameters(classifier, "head")) == {f"{head}.weight", f"{head}.bias"}
    everything = dict(classifier.model.named_parameters())
    assert matched_parameters(classifier, "full") == tuple(everything)


@pytest.mark.parametrize("normalise", ["batch", "own"])
def test_generator_gradient_equals_torch_func_through_everything(
    make_generator: Callable[..., Generator], normalise: str
) -> None:
    """From generator parameters over likelihoods, weights and learner gradient to the cosine."""
    task = make_task()
    generator = in_float64(make_generator(task, tiny_dropout=0.0))
    rows = generator.format.encode(task.train.select(range(8)), 32)
    by_class = [rows.take(range(label, 8, 2)) for label in (0, 1)]
    head, features = double_head(4, 2), torch.randn(2, 4, 4, dtype=torch.float64)
    targets = [HeadBatch.at(head, torch.randn(9, 4).double(), c).mean_gradient() for c in (0, 1)]

    weights, matches = [], []
    for label, own in enumerate(by_class):
        scale = divisors(own.lengths, normalise)  # type: ignore[arg-type]
        weights.append(sample_weights(sequence_losses(generator, own, scale), 0.5))
        batch = HeadBatch.at(head, features[label], label)
        matches.append(batch.match(targets[label], weights[-1].detach()))
    backward_matching_loss(weights, matches)

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for label, own in enumerate(by_class):
            likelihoods = []
            for ids in own.ids:
                logits = torch.func.functional_call(
                    generator.model, parameters, (torch.from_numpy(ids)[None],)
                ).logits[0]
                likelihoods.append(F.cross_entropy(logits[:-1], torch.from_numpy(ids[1:])))
            means = torch.stack(likelihoods)
            if normalise == "batch":
                padded = -(-own.lengths.max() // 8) * 8
                means = means * torch.from_numpy((own.lengths - 1) / (padded - 1))
            weight = torch.softmax(-means / 0.5, 0)
            residual = head(features[label]).softmax(-1) - torch.eye(2)[label]
            weighted = residual.detach() * weight[:, None]
            gradient = (weighted.T @ features[label], weighted.sum(0))
            total = total + naive_loss(targets[label], gradient) / 2
        return total

    parameters = {name: p.detach() for name, p in generator.model.named_parameters()}
    expected = torch.func.grad(loss)(parameters)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, parameter in generator.model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-6, atol=1e-9 * largest)


def test_batching_all_classes_leaves_each_its_own_padded_length(
    make_generator: Callable[..., Generator],
) -> None:
    task = make_task()
    generator = in_float64(make_generator(task, tiny_dropout=0.0))
    rows = generator.format.encode(task.train, 32)
    order = np.argsort(rows.lengths)
    short, long = rows.take(order[:4]), rows.take(order[-4:])
    scales = [divisors(part.lengths, "batch") for part in (short, long)]
    assert scales[0][0] < scales[1][0]
    together = sequence_losses(
        generator, rows.take([*order[:4], *order[-4:]]), np.concatenate(scales)
    )
    for part, scale, joint in zip((short, long), scales, together.split(4), strict=True):
        alone = sample_weights(sequence_losses(generator, part, scale), 1.0)
        torch.testing.assert_close(sample_weights(joint, 1.0), alone, rtol=1e-6, atol=0)


@pytest.mark.parametrize("match", ["head", "full"])
def test_generator_gradient_through_the_learner_equals_nested_torch_func(
    make_generator: Callable[..., Generator], match: str
) -> None:
    """The learner's gradient is taken by torch.func inside of the generator's."""
    task = make_task()
    generator = in_float64(make_generator(task, tiny_dropout=0.0))
    classifier = double_classifier()
    names = matched_parameters(classifier, match)
    rows = generator.format.encode(task.train.select(range(8)), 32)
    read = classifier.encode(task.train)
    own = [np.arange(label, 8, 2) for label in (0, 1)]
    real = [np.arange(10 + label, 40, 2) for label in (0, 1)]

    weights, matches = [], []
    for label in (0, 1):
        part = rows.take(own[label])
        losses = sequence_losses(generator, part, divisors(part.lengths, "own"))
        weights.append(sample_weights(losses, 0.5))
        target = NetworkBatch(classifier, names, read.take(real[label]), label).mean_gradient()
        batch = NetworkBatch(classifier, names, read.take(own[label]), label)
        matches.append(batch.match(target, weights[-1].detach()))
    backward_matching_loss(weights, matches)

    parameters = dict(classifier.model.named_parameters())
    matched = {name: parameters[name].detach() for name in names}

    def gradient(members: np.ndarray, label: int, weight: Tensor) -> tuple[Tensor, ...]:
        def loss(values: dict[str, Tensor]) -> Tensor:
            total = torch.zeros((), dtype=torch.float64)
            for member, share in zip(members, weight, strict=True):
                ids = torch.from_numpy(read.ids[member].astype(np.int64))[None]
                logits = torch.func.functional_call(classifier.model, values, (ids,)).logits
                total = total + share * F.cross_entropy(logits, torch.tensor([label]))
            return total

        return tuple(torch.func.grad(loss)(matched).values())

    def objective(values: dict[str, Tensor]) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for label in (0, 1):
            losses = []
            for member in own[label]:
                ids = torch.from_numpy(rows.ids[member])
                logits = torch.func.functional_call(generator.model, values, (ids[None],)).logits[0]
                losses.append(F.cross_entropy(logits[:-1], ids[1:]))
            weight = torch.softmax(-torch.stack(losses) / 0.5, 0)
            uniform = torch.full((len(real[label]),), 1 / len(real[label]), dtype=torch.float64)
            target = tuple(leaf.detach() for leaf in gradient(real[label], label, uniform))
            total = total + naive_loss(target, gradient(own[label], label, weight)) / 2
        return total

    values = {name: p.detach() for name, p in generator.model.named_parameters()}
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = torch.func.grad(objective)(values)
    largest = max(float(leaf.abs().max()) for leaf in expected.values())
    assert largest > 0
    for name, parameter in generator.model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-6, atol=1e-8 * largest)


def test_a_whole_network_matches_its_own_batch_under_uniform_weights() -> None:
    classifier = double_classifier()
    batch = NetworkBatch(
        classifier, matched_parameters(classifier, "full"), classifier.encode(make_rows(6, 1)), 0
    )
    match = batch.match(batch.mean_gradient(), torch.full((6,), 1 / 6, dtype=torch.float64))
    assert 1 - match.alignment.similarity == pytest.approx(0.0, abs=1e-12)

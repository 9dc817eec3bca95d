"""The shared training loop: exact gradients, decay groups, schedule, determinism, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLNetConfig,
    XLNetForSequenceClassification,
    get_scheduler,
)

from harness.context import StageContext
from harness.errors import HarnessError, UsageError
from harness.kit.text.classifier import TextClassifier
from harness.kit.text.classifier_training import accumulate_gradient, train_classifier
from harness.kit.text.forward import PackedForward, PaddedForward, forward_pass
from harness.kit.training.batching import EncodedRows
from harness.kit.training.compact_embedding import compactable
from harness.kit.training.loop import build_optimizer, check_steps, decay_groups, schedule
from harness.types import Recipe

Make = Callable[..., TextClassifier]

SMALL = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_labels": 3,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def bert(vocabulary: int = 30) -> PreTrainedModel:
    sizes = {**SMALL, "vocab_size": vocabulary}
    return BertForSequenceClassification(
        BertConfig(**sizes, **NO_DROPOUT, max_position_embeddings=64)
    )


def roberta() -> PreTrainedModel:
    return RobertaForSequenceClassification(
        RobertaConfig(**SMALL, **NO_DROPOUT, max_position_embeddings=66)
    )


def distilbert() -> PreTrainedModel:
    return DistilBertForSequenceClassification(
        DistilBertConfig(
            vocab_size=30, dim=16, n_layers=2, n_heads=2, hidden_dim=32, num_labels=3,
            dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0, initializer_range=0.2,
        )
    )  # fmt: skip


def deberta() -> PreTrainedModel:
    return DebertaV2ForSequenceClassification(
        DebertaV2Config(
            **SMALL, **NO_DROPOUT, relative_attention=True, pos_att_type=["p2c", "c2p"],
            pooler_hidden_size=16, pooler_dropout=0.0,
        )
    )  # fmt: skip


def xlnet() -> PreTrainedModel:
    return XLNetForSequenceClassification(
        XLNetConfig(
            vocab_size=30, d_model=16, n_layer=2, n_head=2, d_inner=32, num_labels=3,
            dropout=0.0, summary_last_dropout=0.0, initializer_range=0.2, pad_token_id=0,
        )
    )  # fmt: skip


def sentences(count: int, seed: int = 0) -> Dataset:
    """Rows of 1 to 20 letters; the label says which of three letters is most frequent."""
    generator = np.random.default_rng(seed)
    rows = [generator.choice(list("abcdef"), size=generator.integers(1, 21)) for _ in range(count)]
    labels = [int(np.argmax([(row == letter).sum() for letter in "abc"])) for row in rows]
    return Dataset.from_dict({"text": [" ".join(row) for row in rows], "label": labels})


def soft_targets(count: int, classes: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), size=count)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def padded_full_batch_gradient(
    classifier: TextClassifier, rows: EncodedRows, targets: np.ndarray, weights: np.ndarray
) -> tuple[float, dict[str, Tensor]]:
    """One padded batch, the loss written out row by row."""
    classifier.model.zero_grad()
    logits = classifier.model(**rows.pad(np.arange(len(rows)), 0, "cpu")).logits
    logarithms = logits.log_softmax(-1)
    loss = torch.zeros((), dtype=logits.dtype)
    for row, (target, weight) in enumerate(zip(targets, weights, strict=True)):
        for label, share in enumerate(target):
            loss = loss - weight * share * logarithms[row, label]
    loss = loss / weights.sum()
    loss.backward()
    return float(loss.detach()), gradients(classifier.model)


class TestGradient:
    @pytest.mark.parametrize(
        ("family", "side", "kind"),
        [
            (bert, "right", PackedForward),
            (roberta, "right", PackedForward),
            (distilbert, "right", PaddedForward),
            (deberta, "right", PaddedForward),
            (xlnet, "left", PaddedForward),
        ],
    )
    def test_in_parts_equals_that_of_the_padded_full_batch(
        self, make_classifier: Make, family: Callable[[], PreTrainedModel], side: str, kind: type
    ) -> None:
        classifier = make_classifier(family, side=side, dtype=torch.float64)
        rows = classifier.encode(sentences(23))
        targets, weights = soft_targets(23), np.random.default_rng(1).uniform(0.1, 3, 23)
        loss, expected = padded_full_batch_gradient(classifier, rows, targets, weights)
        classifier.model.zero_grad()
        with forward_pass(classifier.model, rows, 0, classifier.device) as forward:
            assert isinstance(forward, kind)
            got = accumulate_gradient(
                forward, np.arange(23), torch.from_numpy(targets), torch.from_numpy(weights)
            )
        assert float(got) == pytest.approx(loss, rel=1e-12)
        found = gradients(classifier.model)
        assert max(float(g.abs().max()) for g in expected.values()) > 1e-3
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-11, msg=name)

    def test_of_many_parts_equals_that_of_one(
        self, make_classifier: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        classifier = make_classifier(dtype=torch.float64)
        rows = classifier.encode(sentences(23))
        targets, weights = soft_targets(23), np.ones(23)
        _, expected = padded_full_batch_gradient(classifier, rows, targets, weights)
        classifier.model.zero_grad()
        monkeypatch.setattr("harness.kit.training.batching._CPU_TOKENS", 40)
        with forward_pass(classifier.model, rows, 0, classifier.device) as forward:
            assert len(forward.split(np.arange(23))) > 4
            accumulate_gradient(
                forward, np.arange(23), torch.from_numpy(targets), torch.from_numpy(weights)
            )
        for name, gradient in gradients(classifier.model).items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-11, msg=name)


class TestDecayGroups:
    def test_on_bert_exempt_biases_and_layer_norms_only(self) -> None:
        model = BertForSequenceClassification(BertConfig(**SMALL))
        decayed, exempt = decay_groups(model)
        assert sorted([*decayed, *exempt]) == sorted(name for name, _ in model.named_parameters())
        assert all(name.endswith(".bias") or "LayerNorm.weight" in name for name in exempt)
        assert not any("LayerNorm" in name or name.endswith("bias") for name in decayed)
        assert "bert.embeddings.word_embeddings.weight" in decayed

    def test_on_gpt2_know_norms_that_are_called_ln(self) -> None:
        model = GPT2ForSequenceClassification(GPT2Config(n_embd=16, n_layer=1, n_head=2))
        decayed, exempt = decay_groups(model)
        assert {n for n in exempt if n.endswith("weight")} == {
            "transformer.h.0.ln_1.weight",
            "transformer.h.0.ln_2.weight",
            "transformer.ln_f.weight",
        }
        assert {"transformer.wte.weight", "transformer.wpe.weight"} <= set(decayed)

    def test_leave_frozen_parameters_out(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        model[0].weight.requires_grad_(False)
        assert decay_groups(model) == ([], ["0.bias", "1.weight", "1.bias"])

    def test_reach_the_optimizer(self) -> None:
        optimizer = build_optimizer(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)), 0.1, 0.5)
        sizes = [
            (g["weight_decay"], sum(p.numel() for p in g["params"])) for g in optimizer.param_groups
        ]
        assert sizes == [(0.5, 6), (0.0, 6)]


class TestSchedule:
    @pytest.mark.parametrize(
        ("kind", "theirs"),
        [("linear", "linear"), ("cosine", "cosine"), ("constant", "constant_with_warmup")],
    )
    @pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
    def test_agrees_with_transformers(self, kind: str, theirs: str, warmup: float) -> None:
        recipe = Recipe(steps=40, schedule=kind, warmup=warmup)  # type: ignore[arg-type]
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = get_scheduler(theirs, optimizer, round(40 * warmup), 40)
        for step in range(40):
            assert schedule(step, recipe) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
            optimizer.step()
            scheduler.step()

    def test_checks_are_evenly_spaced_and_end_with_the_last_step(self) -> None:
        assert check_steps(Recipe(steps=100, evaluations=5)) == {20, 40, 60, 80, 100}
        assert check_steps(Recipe(steps=3, evaluations=5)) == {1, 2, 3}


RECIPE = Recipe(steps=6, batch_size=8, learning_rate=1e-2, warmup=0.0)


def fit(
    classifier: TextClassifier,
    context: StageContext,
    recipe: Recipe = RECIPE,
    *,
    rows: int = 20,
    weights: np.ndarray | None = None,
    validation: Callable[[], float] | None = None,
) -> dict[str, Tensor]:
    data = sentences(rows)
    train_classifier(
        classifier,
        classifier.encode(data),
        np.eye(3)[data["label"]],
        np.ones(rows) if weights is None else weights,
        recipe,
        context,
        validation=validation,
    )
    return {name: value.clone() for name, value in classifier.model.state_dict().items()}


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


class TestTraining:
    def test_equals_a_plain_loop_over_padded_full_batches(
        self, make_classifier: Make, context: StageContext
    ) -> None:
        """Also shows that the compacted embedding is exact: 30 of 90 tokens are in use."""
        recipe = replace(RECIPE, batch_size=64, weight_decay=0.3, clip_norm=0.5, schedule="linear")
        ours = make_classifier(dtype=torch.float64, vocabulary=90)
        rows = ours.encode(sentences(20))
        assert compactable(ours.model, rows.ids, 0) is not None
        trained = fit(ours, context, recipe)

        plain = make_classifier(dtype=torch.float64, vocabulary=90)
        targets = np.eye(3)[sentences(20)["label"]]
        exempt = [p for n, p in plain.model.named_parameters() if "LayerNorm" in n or "bias" in n]
        decayed = [
            p for n, p in plain.model.named_parameters() if not ("LayerNorm" in n or "bias" in n)
        ]
        optimizer = torch.optim.AdamW([
            {"params": decayed, "weight_decay": 0.3},
            {"params": exempt, "weight_decay": 0.0},
        ])  # fmt: skip
        for step in range(recipe.steps):
            for group in optimizer.param_groups:
                group["lr"] = 1e-2 * (1 - step / recipe.steps)
            padded_full_batch_gradient(plain, rows, targets, np.ones(20))
            torch.nn.utils.clip_grad_norm_(plain.model.parameters(), 0.5)
            optimizer.step()
        for name, value in plain.model.state_dict().items():
            torch.testing.assert_close(trained[name], value, rtol=1e-7, atol=1e-9, msg=name)

    def test_learns(self, make_classifier: Make, context: StageContext) -> None:
        classifier = make_classifier(dropout=0.1)
        data = sentences(40)
        fit(classifier, context, replace(RECIPE, steps=150), rows=40)
        accuracy = np.mean(classifier.predict(data).argmax(1) == np.array(data["label"]))
        assert accuracy > 0.9

    def test_is_bit_equal_for_one_seed_and_differs_for_another(
        self, make_classifier: Make, context: StageContext
    ) -> None:
        first = fit(make_classifier(dropout=0.1), context)
        torch.rand(3)  # the global generator's state must not matter
        assert_equal(first, fit(make_classifier(dropout=0.1), context))
        other = fit(make_classifier(dropout=0.1), replace(context, seed=8))
        assert any(not torch.equal(first[name], other[name]) for name in first)

    def test_leaves_the_global_generator_alone(
        self, make_classifier: Make, context: StageContext
    ) -> None:
        torch.manual_seed(3)
        expected = torch.rand(1)
        torch.manual_seed(3)
        fit(make_classifier(dropout=0.1), context)
        assert torch.equal(torch.rand(1), expected)

    def test_has_dropout_on_while_training_and_off_afterwards(
        self, make_classifier: Make, context: StageContext
    ) -> None:
        classifier = make_classifier(dropout=0.1)
        seen: set[bool] = set()
        dropouts = [m for m in classifier.model.modules() if isinstance(m, nn.Dropout)]
        for module in dropouts:
            module.register_forward_hook(lambda m, _, __: seen.add(m.training))
        fit(classifier, context)
        assert seen == {True}
        seen.clear()
        classifier.predict(sentences(3))
        assert seen == {False}

    def test_counts_steps_not_epochs(self, make_classifier: Make, context: StageContext) -> None:
        shown: list[int | None] = []

        class Counting:
            def track(self, items, description, total=None):  # type: ignore[no-untyped-def]
                shown.append(total)
                yield from items

        fit(make_classifier(), replace(context, progress=Counting()), rows=3)
        assert shown == [RECIPE.steps]

    def test_rows_of_weight_zero_are_as_if_absent(
        self, make_classifier: Make, context: StageContext
    ) -> None:
        weights = np.ones(20)
        weights[12:] = 0
        with_zeros = fit(make_classifier(), context, weights=weights)
        data = sentences(20).select(range(12))
        classifier = make_classifier()
        rows, targets = classifier.encode(data), np.eye(3)[data["label"]]
        train_classifier(classifier, rows, targets, np.ones(12), RECIPE, context)
        assert_equal(with_zeros, dict(classifier.model.state_dict()))

    def test_refuses_weights_that_are_all_zero(
        self, make_classifier: Make, context: StageContext
    ) -> None:
        with pytest.raises(UsageError, match="no training row has a positive weight"):
            fit(make_classifier(), context, weights=np.zeros(20))

    def test_says_when_and_at_what_rate_it_diverged(
        self, make_classifier: Make, context: StageContext
    ) -> None:
        recipe = replace(RECIPE, learning_rate=1e30, clip_norm=0.0, schedule="constant")
        with pytest.raises(HarnessError, match=r"diverged at step \d with learning rate 1e\+30"):
            fit(make_classifier(), context, recipe)

    def test_in_bfloat16_stays_close_to_float32_and_keeps_float32_weights(
        self, make_classifier: Make, context: StageContext
    ) -> None:
        exact = fit(make_classifier(), context, replace(RECIPE, learning_rate=1e-3))
        rough = fit(
            make_classifier(), context, replace(RECIPE, learning_rate=1e-3, dtype="bfloat16")
        )
        assert {value.dtype for value in rough.values()} == {torch.float32}
        differences = [float((exact[n] - rough[n]).abs().max()) for n in exact]
        assert 0 < max(differences) < 0.02


class TestCheckpoint:
    RECIPE = replace(RECIPE, checkpoint="validation", evaluations=3)

    def test_keeps_the_earliest_of_the_best_weights(
        self, make_classifier: Make, context: StageContext
    ) -> None:
        classifier = make_classifier(vocabulary=90)
        scores = iter([0.2, 0.9, 0.9])
        seen: list[dict[str, Tensor]] = []

        def validation() -> float:
            seen.append({k: v.clone() for k, v in classifier.model.state_dict().items()})
            return next(scores)

        final = fit(classifier, context, self.RECIPE, validation=validation)
        assert len(seen) == 3
        assert_equal(final, seen[1])
        assert any(not torch.equal(final[name], seen[2][name]) for name in final)

    def test_sees_every_token_of_the_vocabulary(
        self, make_classifier: Make, context: StageContext
    ) -> None:
        """Validation rows hold tokens that training rows do not."""
        classifier = make_classifier(vocabulary=90)
        rows = Dataset.from_dict({"text": ["x y z"]})
        probabilities: list[np.ndarray] = []

        def validation() -> float:
            probabilities.append(classifier.predict(rows))
            return float(len(probabilities))

        fit(classifier, context, self.RECIPE, validation=validation)
        np.testing.assert_array_equal(probabilities[-1], classifier.predict(rows))

    def test_asking_for_validation_without_one_is_an_error(
        self, make_classifier: Make, context: StageContext
    ) -> None:
        with pytest.raises(UsageError, match="none was given"):
            fit(make_classifier(), context, self.RECIPE)


class TestCompactEmbedding:
    def rows(self) -> list[np.ndarray]:
        return [np.array([1, 5, 7])]

    def test_is_left_alone_when_most_tokens_are_in_use(self) -> None:
        assert compactable(bert(vocabulary=8), [np.arange(6)], 0) is None

    def test_is_left_alone_when_frozen_tied_or_of_another_type(self) -> None:
        frozen = bert()
        frozen.get_input_embeddings().weight.requires_grad_(False)
        assert compactable(frozen, self.rows(), 0) is None

        tied = bert()
        tied.extra = nn.Linear(16, 30, bias=False)
        tied.extra.weight = tied.get_input_embeddings().weight
        assert compactable(tied, self.rows(), 0) is None

        class Other(nn.Embedding):
            pass

        typed = bert()
        typed.set_input_embeddings(Other(30, 16))
        assert compactable(typed, self.rows(), 0) is None

    def test_puts_the_same_module_and_parameter_back(self) -> None:
        model = bert()
        dense = model.get_input_embeddings()
        weight = dense.weight
        swap = compactable(model, self.rows(), 0)
        assert swap is not None
        with swap.compact():
            assert model.get_input_embeddings().weight.shape[0] == 4
            swap.decay(0.5)
        assert model.get_input_embeddings() is dense
        assert dense.weight is weight

    def test_shrinks_only_rows_that_are_not_in_use(self) -> None:
        model = bert()
        before = model.get_input_embeddings().weight.detach().clone()
        swap = compactable(model, self.rows(), 0)
        assert swap is not None
        with swap.compact():
            swap.decay(0.5)
            with swap.dense():
                after_one = model.get_input_embeddings().weight.detach().clone()
            swap.decay(0.5)
        after_two = model.get_input_embeddings().weight.detach()
        unused = [i for i in range(30) if i not in {0, 1, 5, 7}]
        torch.testing.assert_close(after_one[unused], 0.5 * before[unused])
        torch.testing.assert_close(after_two[unused], 0.25 * before[unused])
        torch.testing.assert_close(after_two[[1, 5, 7]], before[[1, 5, 7]])
        assert math.isclose(float(after_two[0].abs().max()), float(before[0].abs().max()))

"""What a text classifier promises to evaluators and methods: encoding, predictions, vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
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
)

from harness.errors import ContractError, UsageError
from harness.kit.text.classifier import TextClassifier
from harness.protocols import Predictor

Make = Callable[..., TextClassifier]
SMALL = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_labels": 3,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}


def roberta() -> PreTrainedModel:
    return RobertaForSequenceClassification(RobertaConfig(**SMALL, max_position_embeddings=34))


def distilbert() -> PreTrainedModel:
    config = DistilBertConfig(vocab_size=30, dim=16, n_layers=1, n_heads=2, num_labels=3)
    return DistilBertForSequenceClassification(config)


def deberta() -> PreTrainedModel:
    return DebertaV2ForSequenceClassification(DebertaV2Config(**SMALL, pooler_hidden_size=16))


def xlnet() -> PreTrainedModel:
    config = XLNetConfig(vocab_size=30, d_model=16, n_layer=1, n_head=2, d_inner=32, num_labels=3)
    return XLNetForSequenceClassification(config)


def gpt2() -> PreTrainedModel:
    config = GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2, num_labels=3)
    return GPT2ForSequenceClassification(config)


@pytest.fixture
def rows() -> Dataset:
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 30, size=75)
    texts = [" ".join(generator.choice(list("abcdefgh"), size=size)) for size in sizes]
    return Dataset.from_dict({"text": texts})


def one_by_one(classifier: TextClassifier, text: str) -> dict[str, torch.Tensor]:
    return dict(
        classifier.tokenizer(
            text, truncation=True, max_length=classifier.max_length, return_tensors="pt"
        )
    )


class TestEncoding:
    def test_has_special_tokens_and_no_padding(self, make_classifier: Make) -> None:
        encoded = make_classifier().encode(Dataset.from_dict({"text": ["a b", "c"]}))
        assert [row.tolist() for row in encoded.ids] == [[2, 4, 5, 3], [2, 6, 3]]

    def test_cuts_long_rows_at_max_length(self, make_classifier: Make, rows: Dataset) -> None:
        encoded = make_classifier(max_length=8).encode(rows)
        assert encoded.lengths.max() == 8
        assert all(row[-1] == 3 for row in encoded.ids)

    def test_marks_the_second_field_as_the_second_segment(self, make_classifier: Make) -> None:
        classifier = make_classifier(columns=("first", "second"))
        encoded = classifier.encode(Dataset.from_dict({"second": ["c"], "first": ["a b"]}))
        assert encoded.ids[0].tolist() == [2, 4, 5, 3, 6, 3]
        assert encoded.type_ids is not None
        assert encoded.type_ids[0].tolist() == [0, 0, 0, 0, 1, 1]

    def test_has_no_segments_for_a_model_without(self, make_classifier: Make) -> None:
        encoded = make_classifier(distilbert).encode(Dataset.from_dict({"text": ["a"]}))
        assert encoded.type_ids is None

    def test_never_exceeds_the_positions_of_the_model(self, make_classifier: Make) -> None:
        assert make_classifier(max_length=500).max_length == 64
        # RoBERTa counts positions from behind its padding index.
        assert make_classifier(roberta, max_length=500).max_length == 33


class TestPrediction:
    @pytest.mark.parametrize("tokens_at_once", [100, 5000])
    @pytest.mark.parametrize("side", ["right", "left"])
    def test_equals_one_row_at_a_time(
        self,
        make_classifier: Make,
        rows: Dataset,
        side: str,
        tokens_at_once: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("harness.kit.training.batching._CPU_TOKENS", tokens_at_once)
        family = {"right": {}, "left": {"make_model": xlnet}}[side]
        classifier = make_classifier(**family, side=side)
        got = classifier.predict(rows)
        with torch.no_grad():
            singly = [
                classifier.model(**one_by_one(classifier, text)).logits.softmax(-1)[0]
                for text in rows["text"]
            ]
        assert got.shape == (75, 3)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, torch.stack(singly).numpy(), atol=2e-6)

    def test_of_pairs_equals_one_row_at_a_time(self, make_classifier: Make) -> None:
        classifier = make_classifier(columns=("first", "second"))
        pairs = {"first": ["a b", "c", "d d d d"], "second": ["e", "f g h", "a"]}
        with torch.no_grad():
            singly = [
                classifier.model(**classifier.tokenizer(a, b, return_tensors="pt")).logits
                for a, b in zip(*pairs.values(), strict=True)
            ]
        got = classifier.predict(Dataset.from_dict(pairs))
        np.testing.assert_allclose(got, torch.cat(singly).softmax(-1).numpy(), atol=2e-6)

    def test_has_dropout_off_and_restores_the_mode(
        self, make_classifier: Make, rows: Dataset
    ) -> None:
        classifier = make_classifier(dropout=0.5)
        classifier.model.train()
        np.testing.assert_array_equal(classifier.predict(rows), classifier.predict(rows))
        assert classifier.model.training

    def test_leaves_no_trace_on_the_model(self, make_classifier: Make, rows: Dataset) -> None:
        classifier = make_classifier()
        before = classifier.model.config._attn_implementation
        classifier.predict(rows)
        assert classifier.model.config._attn_implementation == before
        assert not any(m._forward_hooks for m in classifier.model.modules())
        assert not any(m._forward_pre_hooks for m in classifier.model.modules())

    def test_of_nothing_is_refused(self, make_classifier: Make) -> None:
        with pytest.raises(UsageError, match="no rows"):
            make_classifier().predict(Dataset.from_dict({"text": []}))

    def test_is_what_the_host_calls_a_predictor(self, make_classifier: Make) -> None:
        assert isinstance(make_classifier(), Predictor)


class TestEmbedding:
    @pytest.mark.parametrize("pooling", ["cls", "mean", "head"])
    def test_equals_one_row_at_a_time(
        self, make_classifier: Make, rows: Dataset, pooling: str
    ) -> None:
        classifier = make_classifier()
        got = classifier.embed(rows, pooling)  # type: ignore[arg-type]

        def singly(text: str) -> torch.Tensor:
            output = classifier.model.bert(**one_by_one(classifier, text))
            hidden = output.last_hidden_state[0]
            return {"cls": hidden[0], "mean": hidden.mean(0), "head": output.pooler_output[0]}[
                pooling
            ]

        with torch.no_grad():
            expected = torch.stack([singly(text) for text in rows["text"]])
        np.testing.assert_allclose(got, expected.numpy(), atol=5e-6)
        assert got.dtype == np.float32

    def test_cls_is_the_last_token_where_the_family_pads_on_the_left(
        self, make_classifier: Make, rows: Dataset
    ) -> None:
        classifier = make_classifier(xlnet, side="left")
        with torch.no_grad():
            hidden = classifier.model.transformer(**one_by_one(classifier, rows["text"][3]))
        got = classifier.embed(rows, "cls")[3]
        np.testing.assert_allclose(got, hidden.last_hidden_state[0, -1].numpy(), atol=5e-6)

    def test_head_inputs_give_the_logits(self, make_classifier: Make, rows: Dataset) -> None:
        classifier = make_classifier(roberta)
        with torch.no_grad():
            logits = classifier.head(torch.from_numpy(classifier.embed(rows, "head")))
        np.testing.assert_allclose(logits.softmax(-1), classifier.predict(rows), atol=2e-6)

    def test_head_is_refused_where_the_head_sees_every_token(self, make_classifier: Make) -> None:
        with pytest.raises(UsageError, match="every token"):
            make_classifier(gpt2).embed(Dataset.from_dict({"text": ["a b"]}), "head")


class TestHead:
    @pytest.mark.parametrize(
        ("family", "name"),
        [
            (None, "classifier"),
            (roberta, "classifier.out_proj"),
            (distilbert, "classifier"),
            (deberta, "classifier"),
            (xlnet, "logits_proj"),
            (gpt2, "score"),
        ],
    )
    def test_is_the_family_s_last_linear_layer(
        self, make_classifier: Make, family: Callable[[], PreTrainedModel] | None, name: str
    ) -> None:
        classifier = make_classifier(family) if family else make_classifier()
        assert classifier.head is classifier.model.get_submodule(name)

    def test_is_refused_when_it_does_not_fit_the_classes(self, make_classifier: Make) -> None:
        classifier = make_classifier()
        classifier.model.classifier = nn.Linear(16, 5)
        with pytest.raises(ContractError, match="3 outputs"):
            _ = classifier.head


def test_what_is_saved_predicts_the_same_and_keeps_its_length(
    make_classifier: Make, rows: Dataset, tmp_path: Path
) -> None:
    classifier = make_classifier(max_length=9)
    classifier.save(tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    again = TextClassifier(
        model=AutoModelForSequenceClassification.from_pretrained(tmp_path),
        tokenizer=tokenizer,
        input_columns=("text",),
        max_length=tokenizer.model_max_length,
        info=classifier.info,
        device=torch.device("cpu"),
    )
    assert again.max_length == 9
    np.testing.assert_array_equal(again.predict(rows), classifier.predict(rows))


def test_a_tokenizer_without_pad_token_pads_with_its_end(
    make_classifier: Make, rows: Dataset
) -> None:
    classifier = make_classifier(gpt2)
    assert classifier.model.config.pad_token_id == classifier.tokenizer.pad_token_id
    classifier.tokenizer.pad_token = None
    classifier.tokenizer.eos_token = "[SEP]"
    classifier.model.config.pad_token_id = None
    fields = {name: getattr(classifier, name) for name in ("model", "tokenizer", "info", "device")}
    again = TextClassifier(**fields, input_columns=("text",), max_length=64)
    assert again.pad_id == again.model.config.pad_token_id == 3

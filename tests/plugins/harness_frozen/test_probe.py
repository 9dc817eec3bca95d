"""The student `probe`: its classifier, what it reads, what it keeps, and a bench with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from causal_models import make_lm
from harness import UsageError, bench
from harness.context import StageContext
from harness.storage.arrays import StoredArrays
from harness.storage.store import Store
from harness.testing.text import toy_context
from harness.testing.toys import toy_task
from harness.types import DistilledData, Recipe, TaskData
from harness_frozen.linear_head import fit_head
from harness_frozen.linear_student import FittedLinear
from harness_frozen.probe import Probe
from harness_frozen.text_vectors import TextReader
from harness_instruct.students.families import AnyCausalLM
from harness_text.students import Bert
from memory_cache import MemoryCache
from resolved import resolved

RECIPE = Recipe(steps=5, batch_size=8, max_length=16)


@pytest.fixture
def task() -> TaskData:
    return toy_task().sealed()


@pytest.fixture
def llama(tmp_path: Path) -> AnyCausalLM:
    make_lm("llama").save(tmp_path / "llama")
    return AnyCausalLM(model=str(tmp_path / "llama"))


@pytest.fixture
def context(tmp_path: Path, llama: AnyCausalLM) -> StageContext:
    students: dict[str, Any] = {"lm": llama, "bert:tiny": Bert(variant="tiny")}
    return replace(toy_context(tmp_path), student=students.__getitem__)


def clouds(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    vectors = 3 * np.eye(classes, 6)[labels] + generator.normal(size=(rows, 6))
    return (vectors * generator.uniform(0.1, 50, 6) + 7).astype(np.float32), labels


class TestHead:
    @pytest.mark.parametrize("penalty", [0.1, 1.0, 10.0])
    def test_is_scikit_learn_s_on_standardised_vectors(self, penalty: float) -> None:
        vectors, labels = clouds(60, 3)
        ours = fit_head(vectors, labels, np.ones(60), 3, penalty)
        scaler = StandardScaler().fit(vectors.astype(np.float64))
        theirs = LogisticRegression(C=1 / penalty, tol=1e-9, max_iter=5000)
        theirs.fit(scaler.transform(vectors.astype(np.float64)), labels)
        expected = theirs.predict_proba(scaler.transform(vectors.astype(np.float64)))
        assert ours.probabilities(vectors) == pytest.approx(expected, abs=1e-3)

    def test_weights_are_scikit_learn_s(self) -> None:
        vectors, labels = clouds(30, 3)
        weights = np.random.default_rng(1).uniform(0.1, 2, 30)
        weights *= 30 / weights.sum()
        ours = fit_head(vectors, labels, weights, 3, 1.0)
        standard = StandardScaler().fit_transform(vectors.astype(np.float64))
        theirs = LogisticRegression(C=1.0, tol=1e-9, max_iter=5000)
        theirs.fit(standard, labels, sample_weight=weights)
        expected = theirs.predict_proba(standard)
        assert ours.probabilities(vectors) == pytest.approx(expected, abs=1e-3)

    def test_soft_labels_are_rows_of_every_class_weighted_by_them(self) -> None:
        vectors, _ = clouds(20, 2)
        soft = np.random.default_rng(1).dirichlet((1, 1), 20)
        ours = fit_head(vectors, soft, np.ones(20), 2, 1.0)
        twice, both = np.repeat(vectors, 2, axis=0), np.tile([0, 1], 20)
        split = fit_head(twice, both, soft.ravel(), 2, 2.0)
        assert ours.probabilities(vectors) == pytest.approx(split.probabilities(vectors), abs=1e-4)

    def test_one_hot_labels_are_hard_ones(self) -> None:
        vectors, labels = clouds(20, 2)
        hard = fit_head(vectors, labels, np.ones(20), 2, 1.0)
        soft = fit_head(vectors, np.eye(2)[labels], np.ones(20), 2, 1.0)
        assert hard.probabilities(vectors) == pytest.approx(soft.probabilities(vectors), abs=1e-6)

    def test_scales_of_the_vectors_change_nothing(self) -> None:
        vectors, labels = clouds(20, 2)
        vectors = vectors.astype(np.float64)
        scaled = vectors * np.array([1e3, 1, 1e-2, 5, 1, 2]) + 3
        ours = fit_head(vectors, labels, np.ones(20), 2, 1.0).probabilities(vectors)
        theirs = fit_head(scaled, labels, np.ones(20), 2, 1.0).probabilities(scaled)
        assert ours == pytest.approx(theirs, abs=1e-4)

    def test_a_single_row_and_constant_vectors_give_finite_probabilities(self) -> None:
        one = fit_head(np.ones((1, 3), np.float32), np.array([1]), np.ones(1), 2, 1.0)
        found = one.probabilities(np.zeros((4, 3)))
        assert np.isfinite(found).all()
        assert (found[:, 1] > 0.5).all()


class TestReader:
    def test_a_language_model_s_vectors_are_its_mean_last_hidden_states(
        self, task: TaskData, context: StageContext, llama: AnyCausalLM
    ) -> None:
        import torch

        rows = task.train.select(range(5))
        found = TextReader("lm", task, "mean", 16, context).read(rows)
        lm = llama.build(task, context)
        start = lm.tokenizer.bos_token_id
        for text, vector in zip(rows["text"], found, strict=True):
            ids = [start, *lm.tokenizer(text, add_special_tokens=False).input_ids][:16]
            with torch.no_grad():
                hidden = lm.model.model(torch.tensor([ids])).last_hidden_state[0]
            assert vector == pytest.approx(hidden.mean(0).numpy(), abs=1e-5)

    def test_a_long_text_keeps_its_beginning(self, task: TaskData, context: StageContext) -> None:
        reader = TextReader("lm", task, "mean", 4, context)
        texts = [text + " more words behind it" for text in task.train["text"][:3]]
        longer = Dataset.from_dict({"text": [f"{text} {text}" for text in texts]})
        assert np.array_equal(reader.read(longer), reader.read(Dataset.from_dict({"text": texts})))

    def test_rows_are_read_once_for_all_stages(self, task: TaskData, context: StageContext) -> None:
        cache = MemoryCache()
        for seed in (1, 2):
            own = replace(context, cache=cache, seed=seed)
            reader = TextReader("lm", task, "mean", 16, own)
            reader.read(task.validation, own)
        assert cache.computed.count("text-vectors") == 1
        TextReader("lm", task, "last", 16, own).read(task.validation, own)
        TextReader("lm", task, "mean", 8, own).read(task.validation, own)
        TextReader("bert:tiny", task, "mean", 16, own).read(task.validation, own)
        assert cache.computed.count("text-vectors") == 4

    def test_a_store_gives_back_what_was_read(
        self, task: TaskData, context: StageContext, tmp_path: Path
    ) -> None:
        store = Store(tmp_path / "results")
        store.prepare()
        read = []
        for _ in range(2):
            own = replace(context, cache=StoredArrays(store))
            read.append(TextReader("lm", task, "mean", 16, own).read(task.validation, own))
        assert np.array_equal(*read)
        assert np.array_equal(
            read[0], TextReader("lm", task, "mean", 16, own).read(task.validation)
        )

    def test_a_classifier_s_vectors_do_not_hang_on_the_stage_s_seed(
        self, task: TaskData, context: StageContext
    ) -> None:
        first, second = (
            TextReader("bert:tiny", task, "mean", 16, replace(context, seed=seed)).read(
                task.validation
            )
            for seed in (1, 2)
        )
        assert np.array_equal(first, second)

    def test_a_student_without_a_model_is_refused(
        self, task: TaskData, context: StageContext
    ) -> None:
        own = replace(context, student=lambda _: object())  # type: ignore[arg-type,return-value]
        with pytest.raises(UsageError, match="student 'x' builds no model"):
            _ = TextReader("x", task, "mean", 16, own).model


class TestProbe:
    def fitted(self, task: TaskData, context: StageContext, **options: Any) -> FittedLinear:
        data = DistilledData.select(task, range(12))
        return Probe(**{"model": "lm", **options}).fit(task, data, RECIPE, context)

    @pytest.mark.parametrize("model", ["lm", "bert:tiny"])
    def test_predicts_probabilities(
        self, task: TaskData, context: StageContext, model: str
    ) -> None:
        found = self.fitted(task, context, model=model).predict(task.validation, context)
        assert found.shape == (len(task.validation), len(task.label_names))
        assert found.sum(axis=1) == pytest.approx(np.ones(len(found)))

    def test_reads_back_what_it_saved(
        self, task: TaskData, context: StageContext, tmp_path: Path
    ) -> None:
        probe = self.fitted(task, context)
        probe.save(tmp_path / "saved")
        again = Probe(model="lm").load(tmp_path / "saved", task, context)
        assert again.info == probe.info
        assert np.array_equal(again.predict(task.validation), probe.predict(task.validation))

    def test_counts_the_model_and_the_classifier(
        self, task: TaskData, context: StageContext, llama: AnyCausalLM
    ) -> None:
        info = self.fitted(task, context).info
        inner = llama.build(task, context).info
        head = (inner_width(llama, task, context) + 1) * len(task.label_names)
        assert (info.name, info.variant, info.source) == ("probe", "lm", inner.source)
        assert info.parameters == inner.parameters + head

    def test_looks_at_no_more_rows_than_the_recipe_s_steps_see(
        self, task: TaskData, context: StageContext
    ) -> None:
        short = replace(RECIPE, steps=1, batch_size=6)
        data = DistilledData.select(task, range(12))
        cache = MemoryCache()
        heads = [
            Probe(model="lm")
            .fit(task, data, short, replace(context, seed=seed, cache=cache))
            .head.classifier.weight
            for seed in (1, 2)
        ]
        assert np.array_equal(*heads)
        whole = Probe(model="lm").fit(task, data, RECIPE, context).head.classifier.weight
        assert not np.array_equal(heads[0], whole)

    def test_without_rows_every_class_is_as_probable(
        self, task: TaskData, context: StageContext, tmp_path: Path
    ) -> None:
        nothing = DistilledData.select(task, [])
        probe = Probe(model="lm").fit(task, nothing, replace(RECIPE, steps=0), context)
        probe.save(tmp_path / "saved")
        again = Probe(model="lm").load(tmp_path / "saved", task, context)
        for found in (probe, again):
            shares = found.predict(task.validation)
            assert shares == pytest.approx(np.full_like(shares, 1 / len(task.label_names)))

    @pytest.mark.parametrize(
        ("options", "message"),
        [({}, "needs another student"), ({"model": "lm", "penalty": 0}, "a number, above 0")],
    )
    def test_impossible_options_are_refused(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            resolved(Probe, **options)


def test_a_bench_takes_a_probe_beside_other_students(llama: AnyCausalLM, tmp_path: Path) -> None:
    result = bench(
        "quickstart",
        students=[f"probe:hf-lm:{llama.model}"],
        distillers=["random"],
        budgets=["4/class"],
        seeds=[0],
        settings=["recipe.steps=2"],
        output=tmp_path / "run",
    )
    assert {(r.distiller.label, r.student.component.label) for r in result.results} == {
        ("random", f"probe:hf-lm:{llama.model}"),
        ("full", f"probe:hf-lm:{llama.model}"),
    }


def inner_width(llama: AnyCausalLM, task: TaskData, context: StageContext) -> int:
    return int(llama.build(task, context).model.config.hidden_size)

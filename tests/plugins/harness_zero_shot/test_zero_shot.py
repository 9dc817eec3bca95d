"""Zero-shot classification: texts of classes, templates, ties, and metrics by their definitions."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from harness.errors import ContractError, UsageError
from harness.protocols import Evaluator, Recomputing
from harness.records.record import PackedArray
from harness.registry.components import Component, resolve
from harness.registry.contracts import check_score
from harness.testing.text import toy_context
from harness.types import Score, TaskData
from harness_zero_shot.class_ranks import class_score, rank_classes
from harness_zero_shot.class_texts import class_embeddings, texts_of_classes
from harness_zero_shot.zero_shot import ZeroShot
from numbered_pictures import Told, directions, facts, make_rows, make_task, unit

COMPONENT = Component("evaluator", "zero-shot", ZeroShot, "", "zero-shot", "", "1")


def a_task(labels: list[int], classes: int, *, metric: str = "top1", texts: int = 2) -> TaskData:
    rows = make_rows(list(range(len(labels))), ["some caption"] * len(labels), labels)
    own = [[f"text {n} of class {c}" for n in range(texts)] for c in range(classes)]
    return make_task(rows, classes=[f"class {c}" for c in range(classes)], texts=own, metric=metric)


def a_model(task: TaskData, *, width: int = 5, seed: int = 0) -> Told:
    texts = [text for own in task.class_texts for text in own]
    vectors = directions(len(texts), width, seed)
    return Told(directions(len(task.test), width, seed + 1), dict(zip(texts, vectors, strict=True)))


def evaluate(model: Told, task: TaskData, folder: Path, **options: object) -> Score:
    evaluator = ZeroShot(**options)  # type: ignore[arg-type]
    score = evaluator.evaluate(model, task, "test", toy_context(folder))
    check_score(COMPONENT, score, task, "test")
    return score


def by_hand(model: Told, task: TaskData) -> list[int]:
    """Predictions from the definition: unit texts, their mean, its length, the nearest class."""
    classes = []
    for texts in task.class_texts:
        total = sum(np.asarray(model.texts[t]) / np.linalg.norm(model.texts[t]) for t in texts)
        classes.append(total / np.linalg.norm(total))
    return [
        max(range(len(classes)), key=lambda c: float(np.dot(model.images[n], classes[c])))
        for n in range(len(task.test))
    ]


class TestZeroShot:
    def test_is_an_evaluator_that_can_recompute(self) -> None:
        assert isinstance(ZeroShot(), Evaluator)
        assert isinstance(ZeroShot(), Recomputing)

    @settings(deadline=None, max_examples=20)
    @given(
        labels=st.lists(st.integers(0, 5), min_size=1, max_size=15),
        seed=st.integers(0, 99),
        texts=st.integers(1, 3),
    )
    def test_is_what_the_definitions_give(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        labels: list[int],
        seed: int,
        texts: int,
    ) -> None:
        task = a_task(labels, 6, texts=texts)
        model = a_model(task, seed=seed)
        score = evaluate(model, task, tmp_path_factory.getbasetemp())
        predicted = by_hand(model, task)
        assert score.items["prediction"].tolist() == predicted
        hits = [p == label for p, label in zip(predicted, labels, strict=True)]
        assert score.metrics["top1"] == pytest.approx(np.mean(hits))
        recalls = [
            np.mean([hit for hit, label in zip(hits, labels, strict=True) if label == c])
            for c in set(labels)
        ]
        assert score.metrics["mean_per_class_recall"] == pytest.approx(np.mean(recalls))

    @settings(deadline=None, max_examples=15)
    @given(order=st.permutations(range(12)), seed=st.integers(0, 20))
    def test_the_order_of_the_rows_changes_nothing(
        self, tmp_path_factory: pytest.TempPathFactory, order: list[int], seed: int
    ) -> None:
        task = a_task([n % 6 for n in range(12)], 6)
        model, folder = a_model(task, seed=seed), tmp_path_factory.getbasetemp()
        other = replace(task, splits={"test": task.test.select(order)})
        first, again = evaluate(model, task, folder), evaluate(model, other, folder)
        assert again.metrics == pytest.approx(first.metrics, abs=1e-12)
        assert again.items["rank"].tolist() == first.items["rank"][order].tolist()

    def test_a_constant_model_is_never_right(self, tmp_path: Path) -> None:
        task = a_task([0, 0, 0, 1], 6)
        texts = [text for own in task.class_texts for text in own]
        model = Told(np.ones((4, 3)), dict.fromkeys(texts, np.ones(3)))
        score = evaluate(model, task, tmp_path)
        assert score.metrics == {"top1": 0, "top5": 0, "mean_per_class_recall": 0}
        assert not (score.items["prediction"] == score.items["target"]).any()

    def test_one_image_for_all_scores_the_share_of_one_class(self, tmp_path: Path) -> None:
        task = a_task([0, 0, 1, 2, 3, 4, 5, 5], 6)
        model = a_model(task)
        model.images = np.tile(directions(1, 5, 9), (8, 1))
        score = evaluate(model, task, tmp_path)
        assert score.value in (1 / 8, 2 / 8)
        assert score.metrics["mean_per_class_recall"] == pytest.approx(1 / 6)

    def test_top_5_needs_five_classes(self, tmp_path: Path) -> None:
        few = a_task([0, 1, 2, 3], 4)
        assert "top5" not in evaluate(a_model(few), few, tmp_path).metrics
        five = a_task([0, 1, 2, 3, 4], 5)
        assert evaluate(a_model(five), five, tmp_path).metrics["top5"] == 1

    def test_the_task_s_metric_ranks(self, tmp_path: Path) -> None:
        task = a_task([n % 7 for n in range(20)], 7, metric="top5")
        score = evaluate(a_model(task), task, tmp_path)
        assert score.main == "top5"
        assert np.mean(score.items["score"]) == score.value
        other = replace(task, metric="recall_at_1")
        assert evaluate(a_model(task), other, tmp_path).main == "top1"

    def test_items_are_small(self, tmp_path: Path) -> None:
        task = a_task([0, 1, 2], 5)
        items = evaluate(a_model(task), task, tmp_path).items
        assert {name: str(values.dtype) for name, values in items.items()} == {
            "score": "bool", "prediction": "uint8", "target": "uint8", "rank": "uint8"
        }  # fmt: skip
        many = class_score(np.random.default_rng(0).normal(size=(3, 300)), np.arange(3), "top1")
        assert str(many.items["rank"].dtype) == "uint16"


class TestRanks:
    @given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=8))
    def test_a_tie_is_never_in_the_model_s_favour(self, table: list[list[int]]) -> None:
        scores = np.array(table, dtype=float)
        labels = np.arange(len(table)) % 6
        predicted, ranks = rank_classes(scores, labels)
        for row, label, guess, rank in zip(table, labels, predicted, ranks, strict=True):
            better = [c for c in range(6) if c != label and row[c] >= row[label]]
            assert rank == 1 + len(better)
            assert (guess == label) == (not better)
            assert row[guess] == max(row)

    @settings(deadline=None, max_examples=25)
    @given(data=st.data(), classes=st.integers(2, 8))
    def test_mean_recall_is_scikit_learn_s_balanced_accuracy(
        self, data: st.DataObject, classes: int
    ) -> None:
        numbers = st.lists(st.integers(0, classes - 1), min_size=20, max_size=20)
        labels, predicted = np.array(data.draw(numbers)), np.array(data.draw(numbers))
        found = class_score(np.eye(classes)[predicted], labels, "top1").metrics
        with warnings.catch_warnings():
            # It warns of predicted classes that no row has; they change nothing.
            warnings.simplefilter("ignore")
            theirs = balanced_accuracy_score(labels, predicted)
        assert found["mean_per_class_recall"] == pytest.approx(theirs)


class TestTexts:
    def test_a_class_is_the_mean_of_unit_texts_at_length_1(self) -> None:
        texts = unit(np.array([[3.0, 0, 0], [0, 9, 0], [0, 0, 2]]))
        found = class_embeddings(texts, [2, 1])
        assert found == pytest.approx(np.array([[0.5**0.5, 0.5**0.5, 0], [0, 0, 1]]), abs=1e-7)

    def test_texts_that_cancel_out_have_no_direction(self) -> None:
        with pytest.raises(ContractError, match="zero for class 1"):
            class_embeddings(np.array([[1.0, 0], [0, 1], [0, -1]]), [1, 2])

    def test_templates_take_the_names_of_the_classes(self, tmp_path: Path) -> None:
        task = replace(a_task([0, 1], 2), label_names=("cat", "{dog}"))
        texts = texts_of_classes(task, ("a {}.", "{}"))
        assert texts == (("a cat.", "cat"), ("a {dog}.", "{dog}"))
        model = Told(np.eye(2), {"a cat.": np.eye(2)[0], "a {dog}.": np.eye(2)[1]})
        assert evaluate(model, task, tmp_path, templates="a {}.").value == 1
        assert model.asked == ["a cat.", "a {dog}."]

    def test_a_file_of_templates_is_what_it_says_wherever_it_lies(self, tmp_path: Path) -> None:
        paths = [tmp_path / "one.txt", tmp_path / "other.txt"]
        for path in paths:
            path.write_text("a photo of a {}, a type of food.\n\n {} \n", encoding="utf-8")
        choices = [resolve(COMPONENT, "", {"templates": str(path)}) for path in paths]
        expected = ["a photo of a {}, a type of food.", "{}"]
        assert [choice.options["templates"] for choice in choices] == [expected, expected]
        assert choices[0].identity == choices[1].identity
        assert choices[0].instance.templates == tuple(expected)
        other = resolve(COMPONENT, "", {"templates": "a photo of a {}, a type of food."})
        assert other.identity != choices[0].identity

    def test_other_templates_are_another_evaluator(self) -> None:
        first, second = (resolve(COMPONENT, "", {"templates": t}) for t in ("a {}", "the {}"))
        assert first.identity != second.identity
        assert resolve(COMPONENT, "", {}).identity != first.identity

    @pytest.mark.parametrize("template", ["a photo", "a {} and a {}"])
    def test_a_template_needs_one_place(self, template: str) -> None:
        with pytest.raises(UsageError, match="places for the class"):
            ZeroShot(templates=(template,))

    def test_a_file_that_is_not_there_or_empty_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="neither a template nor a text file"):
            ZeroShot(templates=str(tmp_path / "none.txt"))
        (tmp_path / "empty.txt").write_text("\n")
        with pytest.raises(UsageError, match="holds no template"):
            ZeroShot(templates=str(tmp_path / "empty.txt"))

    def test_classes_without_texts_are_refused(self) -> None:
        task = a_task([0, 1], 2)
        with pytest.raises(UsageError, match="texts for 1 of its 2 classes"):
            ZeroShot().check(replace(task, class_texts=(("a",),)), {}, tunes=False)
        with pytest.raises(UsageError, match="Set templates"):
            ZeroShot().check(replace(task, class_texts=()), {}, tunes=False)
        with pytest.raises(ContractError, match="label_names"):
            ZeroShot(templates="a {}").check(replace(task, label_names=()), {}, tunes=False)


class TestRecomputing:
    @settings(deadline=None, max_examples=15)
    @given(
        labels=st.lists(st.integers(0, 5), min_size=1, max_size=12),
        seed=st.integers(0, 20),
        metric=st.sampled_from(["top1", "top5"]),
    )
    def test_the_items_alone_give_every_metric_again(
        self, tmp_path_factory: pytest.TempPathFactory, labels: list[int], seed: int, metric: str
    ) -> None:
        task = a_task(labels, 6, metric=metric)
        score = evaluate(a_model(task, seed=seed), task, tmp_path_factory.getbasetemp())
        kept = {name: PackedArray.pack(values).unpack() for name, values in score.items.items()}
        assert ZeroShot().recompute(kept, facts(6)) == score.metrics

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"score": np.array([0, 1, 1, 0])}, "scores that say"),
            ({"rank": np.array([1, 1, 1, 1])}, "rank 1 where"),
            ({"rank": np.array([1, 1, 9, 9])}, "ranks from 1 to 6"),
            ({"prediction": np.array([0, 1, 6, 0])}, "below 6"),
            ({"target": None}, "none for target"),
        ],
    )
    def test_items_that_contradict_each_other_are_refused(
        self, change: dict[str, np.ndarray | None], complaint: str
    ) -> None:
        score = class_score(np.eye(6)[[0, 1, 4, 5]], np.array([0, 1, 2, 3]), "top1")
        items = {n: v for n, v in {**score.items, **change}.items() if v is not None}
        with pytest.raises(ContractError, match=complaint):
            ZeroShot().recompute(items, facts(6))

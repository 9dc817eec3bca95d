"""Accuracy and F1 of a classifier, and what makes an evaluation invalid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.context import StageContext
from harness.errors import ContractError
from harness.protocols import Evaluator, Recomputing
from harness.records.record import ComponentRecord, PackedArray, TaskRecord
from harness.types import DataSource, Score, StudentInfo, TaskData
from harness_text.evaluator import ClassificationEvaluator
from harness_text.metrics import classification_metrics

LABELS = [0, 1, 1, 1, 0]


class Fixed:
    """Predicts what it was told to."""

    info = StudentInfo("fixed", "", "none", 0)

    def __init__(self, probabilities: np.ndarray) -> None:
        self.probabilities = probabilities

    def predict(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        return self.probabilities


def task(labels: list[int], *, metric: str = "accuracy", classes: int = 2) -> TaskData:
    rows = Dataset.from_dict({"text": [f"row {i}" for i in range(len(labels))], "label": labels})
    return TaskData(
        name="fixture",
        modality="text-classification",
        version=1,
        metric=metric,
        input_columns=("text",),
        label_names=tuple(f"class {c}" for c in range(classes)),
        splits={"train": rows, "validation": rows, "test": rows},
        source=DataSource("file", "fixture"),
    )


def evaluate(
    predicted: list[int],
    labels: list[int],
    folder: Path,
    *,
    classes: int = 2,
    metric: str = "accuracy",
) -> Score:
    context = StageContext(seed=0, workdir=folder)
    probabilities = np.eye(classes)[predicted]
    return ClassificationEvaluator().evaluate(
        Fixed(probabilities), task(labels, metric=metric, classes=classes), "test", context
    )  # fmt: skip


def f1_by_hand(predicted: np.ndarray, labels: np.ndarray, label: int) -> float:
    hits = np.sum((predicted == label) & (labels == label))
    total = np.sum(predicted == label) + np.sum(labels == label)
    return float(2 * hits / total) if total else 0.0


class TestMetrics:
    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
    def test_agree_with_their_definitions(self, pairs: list[tuple[int, int]]) -> None:
        predicted, labels = (np.array(column) for column in zip(*pairs, strict=True))
        metrics = classification_metrics(predicted, labels, 4)
        assert metrics["accuracy"] == pytest.approx(np.mean(predicted == labels))
        each = [f1_by_hand(predicted, labels, label) for label in range(4)]
        assert metrics["macro_f1"] == pytest.approx(np.mean(each))
        assert set(metrics) == {"accuracy", "macro_f1"}

    def test_of_two_classes_add_f1_of_class_1_and_glue_s_mean(self) -> None:
        predicted, labels = np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0])
        metrics = classification_metrics(predicted, labels, 2)
        assert metrics["accuracy"] == 0.75
        assert metrics["f1"] == pytest.approx(2 / 3)
        assert metrics["accuracy_f1"] == pytest.approx((0.75 + 2 / 3) / 2)


class TestEvaluator:
    def test_is_an_evaluator(self) -> None:
        assert isinstance(ClassificationEvaluator(), Evaluator)
        assert ClassificationEvaluator.needs == ("predict",)

    @pytest.mark.parametrize(("constant", "share"), [(0, 0.4), (1, 0.6)])
    def test_a_constant_predictor_scores_the_share_of_its_class(
        self, tmp_path: Path, constant: int, share: float
    ) -> None:
        assert evaluate([constant] * 5, LABELS, tmp_path).value == pytest.approx(share)

    def test_the_task_s_metric_ranks(self, tmp_path: Path) -> None:
        score = evaluate([0, 1, 0, 1, 1], LABELS, tmp_path, metric="accuracy_f1")
        assert score.main == "accuracy_f1"
        assert score.value == pytest.approx((0.6 + 2 / 3) / 2)

    def test_items_are_compact_and_in_the_order_of_the_split(self, tmp_path: Path) -> None:
        items = evaluate([0, 1, 0, 1, 1], LABELS, tmp_path).items
        assert items["score"].tolist() == [True, True, False, True, False]
        assert items["prediction"].tolist() == [0, 1, 0, 1, 1]
        assert items["target"].tolist() == LABELS
        assert {name: str(array.dtype) for name, array in items.items()} == {
            "score": "bool",
            "prediction": "uint8",
            "target": "uint8",
        }

    def test_items_of_many_classes_are_wide_enough(self, tmp_path: Path) -> None:
        items = evaluate([299, 5], [299, 299], tmp_path, classes=300).items
        assert items["prediction"].tolist() == [299, 5]
        assert str(items["target"].dtype) == "uint16"

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_probabilities_that_are_not_finite_break_the_contract(
        self, tmp_path: Path, bad: float
    ) -> None:
        probabilities = np.full((5, 2), 0.5)
        probabilities[3, 1] = bad
        with pytest.raises(ContractError, match=r"student 'fixed'.*NaN or infinity in 1 of 5 rows"):
            ClassificationEvaluator().evaluate(
                Fixed(probabilities), task(LABELS), "test", StageContext(0, tmp_path)
            )

    @pytest.mark.parametrize("shape", [(4, 2), (5, 3), (5,)])
    def test_probabilities_of_another_shape_break_the_contract(
        self, tmp_path: Path, shape: tuple[int, ...]
    ) -> None:
        with pytest.raises(ContractError, match=r"shape \(5, 2\)"):
            ClassificationEvaluator().evaluate(
                Fixed(np.zeros(shape)), task(LABELS), "test", StageContext(0, tmp_path)
            )

    def test_a_metric_that_is_not_measured_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ContractError, match="metric should be one of accuracy, macro_f1"):
            evaluate([0, 1], [0, 1], tmp_path, classes=3, metric="f1")


def facts(classes: int) -> TaskRecord:
    component = ComponentRecord("fixture", "fixture", "1", "text", "", {})
    names = tuple(f"class {c}" for c in range(classes))
    return TaskRecord(component, "f", "t", 1, "accuracy", "file", "fixture", {"test": 5}, names)


class TestRecomputing:
    @given(data=st.data(), classes=st.integers(2, 5))
    def test_the_items_alone_give_every_metric_again(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, classes: int
    ) -> None:
        numbers = st.lists(st.integers(0, classes - 1), min_size=8, max_size=8)
        labels, predicted = data.draw(numbers), data.draw(numbers)
        score = evaluate(predicted, labels, tmp_path_factory.getbasetemp(), classes=classes)
        kept = {name: PackedArray.pack(values).unpack() for name, values in score.items.items()}
        assert ClassificationEvaluator().recompute(kept, facts(classes)) == score.metrics

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"score": np.array([1, 1, 1, 1, 1])}, "2 others"),
            ({"prediction": np.array([0, 1, 1, 0, 2])}, "got 2"),
            ({"target": None}, "none for target"),
        ],
    )
    def test_items_that_contradict_each_other_are_refused(
        self, tmp_path: Path, change: dict[str, np.ndarray | None], complaint: str
    ) -> None:
        score = evaluate([0, 1, 1, 0, 1], LABELS, tmp_path)
        items = {name: values for name, values in {**score.items, **change}.items()
                 if values is not None}  # fmt: skip
        with pytest.raises(ContractError, match=complaint):
            ClassificationEvaluator().recompute(items, facts(2))

    def test_the_host_knows_that_it_can(self) -> None:
        assert isinstance(ClassificationEvaluator(), Recomputing)

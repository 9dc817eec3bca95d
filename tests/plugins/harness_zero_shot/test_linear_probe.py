"""The linear probe against scikit-learn, and that it never learns or chooses from test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from sklearn.linear_model import LogisticRegression

from harness.errors import ContractError, UsageError
from harness.kit.training.logistic_regression import (
    GRID,
    MOST_FITS,
    LinearClassifier,
    choose_weight_decay,
    fit_logistic,
)
from harness.protocols import Evaluator
from harness.registry.components import Component
from harness.registry.contracts import check_score
from harness.testing.text import toy_context
from harness.types import TaskData
from harness_zero_shot.linear_probe import LinearProbe
from numbered_pictures import Told, facts, make_rows, make_task, unit
from resolved import resolved

CLASSES = ["one", "two", "three"]


def clouds(rows: int, seed: int, *, spread: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, rows, p=(0.5, 0.3, 0.2))
    labels[:3] = range(3)
    return unit(np.eye(3, 5)[labels] + spread * generator.normal(size=(rows, 5))), labels


def a_world(*, spread: float = 0.6) -> tuple[Told, TaskData]:
    parts = [clouds(rows, seed, spread=spread) for seed, rows in enumerate((60, 30, 40))]
    starts = (0, 60, 90)
    splits = [
        make_rows(list(range(start, start + len(labels))), ["c"] * len(labels), labels.tolist())
        for start, (_, labels) in zip(starts, parts, strict=True)
    ]
    model = Told(np.concatenate([vectors for vectors, _ in parts]), {})
    task = make_task(splits[2], classes=CLASSES, train=splits[0], validation=splits[1])
    return model, task


class TestLogisticRegression:
    @pytest.mark.parametrize("weight_decay", [1e-4, 1e-2, 1.0])
    def test_is_scikit_learn_s_at_the_same_penalty(self, weight_decay: float) -> None:
        features, labels = clouds(80, seed=0)
        ours = fit_logistic(features, labels, 3, weight_decay)
        theirs = LogisticRegression(C=1 / (weight_decay * 80), tol=1e-9, max_iter=5000)
        theirs.fit(features.astype(np.float64), labels)
        mine = ours.scores(features)
        probabilities = np.exp(mine) / np.exp(mine).sum(axis=1, keepdims=True)
        expected = theirs.predict_proba(features.astype(np.float64))
        assert probabilities == pytest.approx(expected, abs=2e-4)

    def test_where_it_starts_changes_nothing(self) -> None:
        features, labels = clouds(60, seed=1)
        cold = fit_logistic(features, labels, 3, 1e-3)
        start = fit_logistic(features, labels, 3, 1.0)
        warm = fit_logistic(features, labels, 3, 1e-3, start=start)
        assert warm.scores(features) == pytest.approx(cold.scores(features), abs=1e-3)

    def test_the_same_rows_give_the_same_numbers(self) -> None:
        features, labels = clouds(60, seed=2)
        first, second = (fit_logistic(features, labels, 3, 1e-2) for _ in range(2))
        assert np.array_equal(first.weight, second.weight)

    def test_constant_features_give_the_shares_of_the_classes(self) -> None:
        labels = np.array([0, 0, 0, 1, 2, 2])
        made = fit_logistic(np.full((6, 4), 0.5, dtype=np.float32), labels, 3, 1e-2)
        scores = np.exp(made.scores(np.full((1, 4), 0.5)))[0]
        assert scores / scores.sum() == pytest.approx([3 / 6, 1 / 6, 2 / 6], abs=1e-3)


class TestChoice:
    @pytest.mark.parametrize("peak", [0, 1, 5, 16, 47, 60, 95, 96])
    def test_finds_the_peak_of_a_hill_in_few_fits(self, peak: int) -> None:
        tried: list[float] = []

        def fit(weight_decay: float, start: LinearClassifier | None) -> LinearClassifier:
            tried.append(weight_decay)
            return LinearClassifier(np.array([[weight_decay]]), np.zeros(1))

        def quality(made: LinearClassifier) -> tuple[float, ...]:
            return (-abs(float(np.log(made.weight[0, 0] / GRID[peak]))),)

        chosen, _ = choose_weight_decay(fit, quality)
        assert chosen == pytest.approx(GRID[peak])
        assert len(tried) == len(set(tried)) <= MOST_FITS

    def test_of_equal_ones_the_larger_is_kept(self) -> None:
        def fit(weight_decay: float, start: LinearClassifier | None) -> LinearClassifier:
            return LinearClassifier(np.array([[weight_decay]]), np.zeros(1))

        chosen, made = choose_weight_decay(fit, lambda made: (float(made.weight[0, 0] <= 1.0),))
        assert chosen == pytest.approx(1.0, rel=1e-6)
        assert made.weight[0, 0] == chosen

    def test_the_grid_is_that_of_clip_benchmark(self) -> None:
        assert len(GRID) == 97
        assert GRID[[0, 48, 96]] == pytest.approx([1e-6, 1e-2, 1e2])


class TestLinearProbe:
    def test_conforms(self, tmp_path: Path) -> None:
        assert isinstance(LinearProbe(), Evaluator)
        model, task = a_world()
        score = LinearProbe().evaluate(model, task, "test", toy_context(tmp_path))
        component = Component("evaluator", "linear-probe", LinearProbe, "", "zero-shot", "", "1")
        check_score(component, score, task, "test")
        assert 0.6 < score.value < 1
        again = LinearProbe().evaluate(model, task, "test", toy_context(tmp_path, seed=9))
        assert again.metrics == score.metrics

    def test_recomputes(self, tmp_path: Path) -> None:
        model, task = a_world()
        score = LinearProbe().evaluate(model, task, "test", toy_context(tmp_path))
        assert LinearProbe().recompute(score.items, facts(3)) == score.metrics

    def test_learns_what_the_embeddings_tell(self, tmp_path: Path) -> None:
        model, task = a_world(spread=0.01)
        assert LinearProbe().evaluate(model, task, "test", toy_context(tmp_path)).value == 1

    def test_embeddings_that_are_all_the_same_score_the_share_of_the_largest_class(
        self, tmp_path: Path
    ) -> None:
        model, task = a_world()
        model.images = np.ones((130, 4))
        value = LinearProbe().evaluate(model, task, "test", toy_context(tmp_path)).value
        assert value == task.class_counts("test")[int(np.argmax(task.class_counts()))] / 40

    def test_other_labels_of_test_change_no_prediction(self, tmp_path: Path) -> None:
        model, task = a_world()
        first = LinearProbe().evaluate(model, task, "test", toy_context(tmp_path))
        flipped = task.test.map(lambda row: {"label": (row["label"] + 1) % 3})
        other = make_task(flipped, classes=CLASSES, train=task.train, validation=task.validation)
        second = LinearProbe().evaluate(model, other, "test", toy_context(tmp_path))
        right = first.items["prediction"] == second.items["prediction"]
        assert right.all()

    def test_validation_can_be_scored_without_test(self, tmp_path: Path) -> None:
        model, task = a_world()
        sealed = task.sealed()
        score = LinearProbe().evaluate(model, sealed, "validation", toy_context(tmp_path))
        assert len(score.items["score"]) == 30

    def test_shots_are_rows_of_each_class_drawn_by_seed(self, tmp_path: Path) -> None:
        model, task = a_world()
        seen: list[list[int]] = []
        encode = model.encode_image

        def note(rows: Dataset, context: object = None) -> np.ndarray:
            seen.append(sorted(rows["label"][:]))
            return encode(rows)

        model.encode_image = note  # type: ignore[method-assign]
        LinearProbe(shots=4).evaluate(model, task, "test", toy_context(tmp_path, seed=1))
        assert seen[0] == [0] * 4 + [1] * 4 + [2] * 4

    def test_refuses_what_it_cannot_score(self) -> None:
        _, task = a_world()
        with pytest.raises(UsageError, match="shots = -1"):
            resolved(LinearProbe, shots=-1)
        with pytest.raises(UsageError, match="shots = 99, but class"):
            LinearProbe(shots=99).check(task, {}, tunes=False)
        with pytest.raises(ContractError, match="label_names"):
            LinearProbe().check(make_task(make_rows([0], ["a"])), {}, tunes=False)

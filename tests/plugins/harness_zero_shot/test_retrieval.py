"""Retrieval on models made by hand: what counts as right, ties, duplicates and order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ContractError
from harness.protocols import Evaluator, Recomputing
from harness.records.record import PackedArray
from harness.registry.components import Component
from harness.registry.contracts import check_score
from harness.testing.text import toy_context
from harness.testing.toys import toy_task
from harness.types import Score
from harness_zero_shot.content_groups import image_groups
from harness_zero_shot.retrieval import Retrieval
from numbered_pictures import Told, directions, facts, make_rows, make_task, picture


def evaluate(model: Told, images: list[int], captions: list[str], folder: Path) -> Score:
    task = make_task(make_rows(images, captions))
    score = Retrieval().evaluate(model, task, "test", toy_context(folder))
    component = Component("evaluator", "retrieval", Retrieval, "", "zero-shot", "", "1")
    check_score(component, score, task, "test")
    return score


def a_model(images: int, captions: list[str], *, noise: float, seed: int = 0) -> Told:
    """Texts of row n near image n, more or less."""
    vectors = directions(images, 6, seed)
    generator = np.random.default_rng(seed + 1)
    near = {
        caption: vectors[n % images] + noise * generator.normal(size=6)
        for n, caption in enumerate(dict.fromkeys(captions))
    }
    return Told(vectors, near)


def by_definition(model: Told, images: list[int], captions: list[str]) -> dict[str, float]:
    """Recall as it is defined, one query after another, from all similarities."""
    right = set(zip(images, captions, strict=True))
    shown, written = sorted(set(images)), sorted(set(captions))
    vectors = {n: np.asarray(model.images[n], dtype=np.float64) for n in shown}
    texts = {text: np.asarray(model.texts[text], dtype=np.float64) for text in written}
    cosine = {
        (n, t): round(float(v @ w / np.linalg.norm(v) / np.linalg.norm(w)), 6)
        for n, v in vectors.items()
        for t, w in texts.items()
    }
    found: dict[str, float] = {}
    for k in (1, 5, 10):
        hits = {}
        for text in written:
            best = max(cosine[n, text] for n in shown if (n, text) in right)
            above = [n for n in shown if (n, text) not in right and cosine[n, text] >= best]
            hits[text] = len(above) < k
        found[f"image_recall_at_{k}"] = sum(hits.values()) / len(hits)
        seen = {}
        for n in shown:
            best = max(cosine[n, text] for text in written if (n, text) in right)
            above = [text for text in written if (n, text) not in right and cosine[n, text] >= best]
            seen[n] = len(above) < k
        found[f"text_recall_at_{k}"] = sum(seen.values()) / len(seen)
        both = [(hits[t] + seen[n]) / 2 for n, t in zip(images, captions, strict=True)]
        found[f"recall_at_{k}"] = sum(both) / len(both)
    return found


@st.composite
def pairings(draw: st.DrawFn) -> tuple[list[int], list[str]]:
    """Rows of few images and few captions: several of either kind, and whole rows twice."""
    rows = draw(st.integers(1, 14))
    images = draw(st.lists(st.integers(0, 5), min_size=rows, max_size=rows))
    captions = draw(st.lists(st.integers(0, 5), min_size=rows, max_size=rows))
    return images, [f"caption {n}" for n in captions]


class TestRetrieval:
    def test_is_an_evaluator_that_can_recompute(self) -> None:
        assert isinstance(Retrieval(), Evaluator)
        assert isinstance(Retrieval(), Recomputing)

    @settings(deadline=None, max_examples=60)
    @given(rows=pairings(), seed=st.integers(0, 50))
    def test_is_what_the_definition_gives(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        rows: tuple[list[int], list[str]],
        seed: int,
    ) -> None:
        model = a_model(6, [f"caption {n}" for n in range(6)], noise=0.7, seed=seed)
        score = evaluate(model, *rows, tmp_path_factory.getbasetemp())
        for name, value in by_definition(model, *rows).items():
            assert score.metrics[name] == pytest.approx(value, abs=1e-9), name

    @settings(deadline=None, max_examples=40)
    @given(rows=pairings(), seed=st.integers(0, 50), data=st.data())
    def test_the_order_of_the_rows_changes_nothing(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        rows: tuple[list[int], list[str]],
        seed: int,
        data: st.DataObject,
    ) -> None:
        images, captions = rows
        model = a_model(6, [f"caption {n}" for n in range(6)], noise=0.7, seed=seed)
        order = data.draw(st.permutations(range(len(images))))
        folder = tmp_path_factory.getbasetemp()
        first = evaluate(model, images, captions, folder)
        again = evaluate(model, [images[n] for n in order], [captions[n] for n in order], folder)
        assert again.metrics == pytest.approx(first.metrics, abs=1e-12)
        for name in ("score", "image_rank", "caption_rank"):
            assert again.items[name].tolist() == first.items[name][list(order)].tolist()

    @settings(deadline=None, max_examples=40)
    @given(rows=pairings(), seed=st.integers(0, 50))
    def test_the_items_alone_give_every_metric_again(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        rows: tuple[list[int], list[str]],
        seed: int,
    ) -> None:
        model = a_model(6, [f"caption {n}" for n in range(6)], noise=0.7, seed=seed)
        score = evaluate(model, *rows, tmp_path_factory.getbasetemp())
        kept = {name: PackedArray.pack(values).unpack() for name, values in score.items.items()}
        assert Retrieval().recompute(kept, facts()) == pytest.approx(score.metrics, abs=1e-12)
        assert score.value == pytest.approx(float(np.mean(kept["score"])), abs=1e-7)

    def test_a_constant_model_scores_nothing_where_there_are_many(self, tmp_path: Path) -> None:
        captions = [f"caption {n}" for n in range(30)]
        same = np.ones(4)
        model = Told(dict.fromkeys(range(30), same), dict.fromkeys(captions, same))
        found = evaluate(model, list(range(30)), captions, tmp_path).metrics
        assert found["recall_at_10"] == 0
        assert found["image_reciprocal_median_rank"] == pytest.approx(1 / 30)

    def test_random_embeddings_score_about_chance(self, tmp_path: Path) -> None:
        captions = [f"caption {n}" for n in range(200)]
        model = a_model(200, captions, noise=1e6)
        found = evaluate(model, list(range(200)), captions, tmp_path).metrics
        assert found["recall_at_10"] == pytest.approx(10 / 200, abs=0.03)

    def test_any_of_several_captions_is_right_for_an_image(self, tmp_path: Path) -> None:
        axes = np.eye(3)
        texts = {"a": axes[2], "the second": axes[0], "b": axes[1], "c": axes[2]}
        model = Told(axes, texts)
        found = evaluate(model, [0, 0, 1, 2], ["a", "the second", "b", "c"], tmp_path)
        # Caption "a" looks like image 2; images 0 and 1 find a caption of theirs first, image 2
        # ties with "a".
        assert found.metrics["text_recall_at_1"] == pytest.approx(2 / 3)
        assert found.metrics["image_recall_at_1"] == pytest.approx(3 / 4)
        assert found.items["image_rank"].tolist()[1:] == [1, 1, 1]
        assert found.items["caption_rank"].tolist() == [1, 1, 1, 2]

    def test_rows_with_one_caption_or_one_image_can_all_be_right(self, tmp_path: Path) -> None:
        """Without grouping, one of two equal captions would always come second."""
        axes = np.eye(3)
        model = Told(axes, {"a dog": axes[0] + axes[1], "A  Dog": axes[0], "c": axes[2]})
        captions = ["a dog", "a dog", "c", "c"]
        assert evaluate(model, [0, 1, 2, 2], captions, tmp_path).metrics["recall_at_1"] == 1
        captions = ["a dog", " A  Dog", "c", "c"]
        assert evaluate(model, [0, 1, 2, 2], captions, tmp_path).metrics["recall_at_1"] == 1

    def test_images_are_one_image_when_they_show_the_same_however_stored(self) -> None:
        rows = make_rows([3, 3, 4], ["a", "b", "c"])
        kinds = [picture(3), picture(3, kind="BMP"), picture(4)]
        stored = rows.map(lambda row, n: {"image": {"bytes": kinds[n]}}, with_indices=True)
        assert stored[0]["image"].tobytes() == stored[1]["image"].tobytes()
        assert image_groups(stored).of_row.tolist() == [0, 0, 1]
        larger = rows.map(lambda row, n: {"image": {"bytes": picture(3, size=2 + n)}},
                          with_indices=True)  # fmt: skip
        assert image_groups(larger).of_row.tolist() == [0, 1, 2]

    def test_a_recall_at_more_than_there_are_is_one(self, tmp_path: Path) -> None:
        model = a_model(3, ["a", "b", "c"], noise=1e6)
        found = evaluate(model, [0, 1, 2], ["a", "b", "c"], tmp_path).metrics
        assert found["recall_at_5"] == found["text_recall_at_10"] == 1

    def test_the_task_s_metric_ranks_and_is_the_mean_of_the_scores(self, tmp_path: Path) -> None:
        captions = [f"caption {n}" for n in range(9)]
        model = a_model(9, captions, noise=0.8)
        task = make_task(make_rows(list(range(9)), captions))
        for metric in ("image_recall_at_1", "text_recall_at_5", "recall_at_5"):
            asked = replace(task, metric=metric)
            score = Retrieval().evaluate(model, asked, "test", toy_context(tmp_path))
            assert score.main == metric
            assert np.mean(score.items["score"]) == pytest.approx(score.value)
        score = Retrieval().evaluate(model, task, "test", toy_context(tmp_path))
        assert score.main == "recall_at_1"

    def test_items_are_small_and_one_for_each_row(self, tmp_path: Path) -> None:
        captions = [f"caption {n}" for n in range(5)]
        items = evaluate(a_model(5, captions, noise=0.1), list(range(5)), captions, tmp_path).items
        assert {name: str(values.dtype) for name, values in items.items()} == {
            "score": "float32", "image": "uint8", "caption": "uint8",
            "image_rank": "uint8", "caption_rank": "uint8",
        }  # fmt: skip
        assert {len(values) for values in items.values()} == {5}

    def test_each_image_and_caption_is_encoded_once(self, tmp_path: Path) -> None:
        model = a_model(2, ["a", "b"], noise=0.1)
        evaluate(model, [0, 1, 0, 1], ["a", "b", "a", "b"], tmp_path)
        assert model.asked == ["a", "b"]


class TestRefusals:
    def test_a_task_without_images(self, tmp_path: Path) -> None:
        with pytest.raises(ContractError, match="image and caption"):
            Retrieval().evaluate(
                a_model(2, ["a"], noise=0), toy_task(), "test", toy_context(tmp_path)
            )

    @pytest.mark.parametrize(
        ("vectors", "complaint"),
        [
            (np.full((2, 3), np.nan), "encode_image should be finite numbers"),
            (np.full((2, 3), 2.0), "rows of length 1"),
            (np.ones((1, 3)), r"shape \(2, width\)"),
            (np.eye(2), "width of its embeddings"),
        ],
    )
    def test_embeddings_that_are_none(
        self, tmp_path: Path, vectors: np.ndarray, complaint: str
    ) -> None:
        model = a_model(2, ["a", "b"], noise=0)
        model.encode_image = lambda rows, context=None: vectors  # type: ignore[method-assign]
        with pytest.raises(ContractError, match=complaint):
            evaluate(model, [0, 1], ["a", "b"], tmp_path)

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"score": np.full(4, 0.25)}, "scores that follow from the ranks"),
            ({"image_rank": np.array([1, 1, 1, 9])}, "ranks from 1"),
            ({"image_rank": np.array([1, 1, 1, 0])}, "ranks from 1"),
            ({"caption_rank": np.array([1, 2, 1, 1])}, "one rank for each image"),
            ({"caption": None}, "none for caption"),
        ],
    )
    def test_items_that_contradict_each_other(
        self, tmp_path: Path, change: dict[str, np.ndarray | None], complaint: str
    ) -> None:
        captions = ["a", "b", "c", "d"]
        score = evaluate(a_model(3, captions, noise=0.01), [0, 0, 1, 2], captions, tmp_path)
        items = {n: v for n, v in {**score.items, **change}.items() if v is not None}
        with pytest.raises(ContractError, match=complaint):
            Retrieval().recompute(items, facts())


def test_two_splits_one_after_the_other_are_one_evaluation_each(tmp_path: Path) -> None:
    rows = make_rows([0, 1], ["a", "b"])
    task = make_task(concatenate_datasets([rows, rows]), validation=rows)
    model = a_model(2, ["a", "b"], noise=0)
    score = Retrieval().evaluate(model, task.sealed(), "validation", toy_context(tmp_path))
    assert len(score.items["score"]) == 2

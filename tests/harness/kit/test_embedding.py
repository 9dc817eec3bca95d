"""Embeddings: computed once for all seeds and methods, and TF-IDF against its formula."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from harness.context import StageContext
from harness.errors import HarnessError, UsageError
from harness.kit.embedding import embed_rows, proxy_student, tfidf_vectors
from harness.testing.toys import WordCounts, toy_task
from harness.types import TaskData
from memory_cache import MemoryCache


class LetterClassifier:
    """Embeds a text as its length, its count of `e`, and a number drawn when it was built."""

    def __init__(self, drawn: float, broken: bool) -> None:
        self._drawn = drawn
        self._broken = broken

    def embed(self, rows: Dataset, pooling: str, context: StageContext) -> np.ndarray:
        scale = {"mean": 1.0, "cls": 2.0}[pooling]
        values = [[scale * len(t), float(t.count("e")), self._drawn] for t in rows["text"]]
        if self._broken:
            values[1][0] = math.nan
        return np.array(values, dtype=np.float32)


@dataclass(frozen=True)
class LetterStudent:
    weights: str = "a"
    broken: bool = False

    def fingerprint(self) -> str:
        return self.weights

    def build(self, task: TaskData, context: StageContext, *, max_length: int) -> LetterClassifier:
        return LetterClassifier(context.numpy_generator("weights").random(), self.broken)


STUDENTS = {
    "letters": LetterStudent(),
    "other-letters": LetterStudent("b"),
    "broken": LetterStudent(broken=True),
    "words": WordCounts(),
}


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache()


@pytest.fixture
def context(tmp_path: Path, cache: MemoryCache) -> StageContext:
    return StageContext(0, tmp_path, cache=cache, student=lambda spec: STUDENTS[spec])  # type: ignore[arg-type,return-value]


def test_rows_come_in_the_order_asked_for(context: StageContext) -> None:
    task = toy_task()
    everything = embed_rows(task, "train", "letters", "mean", context)
    assert everything[:, 0].tolist() == [len(text) for text in task.train["text"]]
    some = embed_rows(task, "train", "letters", "mean", context, rows=[7, 3])
    np.testing.assert_array_equal(some, everything[[7, 3]])


def test_all_seeds_share_one_computation(context: StageContext, cache: MemoryCache) -> None:
    first, second = (
        embed_rows(toy_task(), "train", "letters", "mean", replace(context, seed=seed))
        for seed in (1, 2)
    )
    assert len(cache.stored) == 1
    np.testing.assert_array_equal(first, second)


def test_without_a_cache_the_seed_of_the_stage_changes_nothing_either(tmp_path: Path) -> None:
    contexts = (StageContext(s, tmp_path, student=lambda spec: STUDENTS[spec]) for s in (1, 2))  # type: ignore[arg-type,return-value]
    first, second = (embed_rows(toy_task(), "train", "letters", "mean", c) for c in contexts)
    np.testing.assert_array_equal(first, second)


def test_whatever_changes_the_vectors_is_computed_anew(
    context: StageContext, cache: MemoryCache
) -> None:
    task = toy_task()
    embed_rows(task, "train", "letters", "mean", context)
    embed_rows(task, "train", "letters", "cls", context)
    embed_rows(task, "train", "letters", "mean", context, rows=[0, 1])
    embed_rows(task, "validation", "letters", "mean", context)
    embed_rows(task, "train", "other-letters", "mean", context)
    embed_rows(toy_task(seed=1), "train", "letters", "mean", context)
    embed_rows(task, "train", "tfidf", "mean", context)
    assert len(cache.stored) == 7


def test_pooling_means_nothing_to_tfidf(context: StageContext, cache: MemoryCache) -> None:
    embed_rows(toy_task(), "train", "tfidf", "mean", context)
    embed_rows(toy_task(), "train", "tfidf", "cls", context)
    assert len(cache.stored) == 1


def test_vectors_that_are_not_finite_are_named_and_not_kept(
    context: StageContext, cache: MemoryCache
) -> None:
    with pytest.raises(HarnessError, match=r"'broken' gave NaN or infinity for 1 of 60 .* row 1"):
        embed_rows(toy_task(), "train", "broken", "mean", context)
    assert not cache.stored


@pytest.mark.parametrize(("spec", "message"), [("", "no proxy"), ("words", "cannot be a proxy")])
def test_a_proxy_that_cannot_embed_is_refused(
    context: StageContext, spec: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        proxy_student(spec, context)
    with pytest.raises(UsageError, match=message):
        embed_rows(toy_task(), "train", spec, "mean", context)


def test_a_sealed_task_keeps_its_test_split_closed(context: StageContext) -> None:
    with pytest.raises(HarnessError, match="test is opened once"):
        embed_rows(toy_task().sealed(), "test", "letters", "mean", context)


def by_hand(texts: list[str]) -> np.ndarray:
    """TF-IDF rows of length 1: (1 + ln tf) * (ln((1 + n) / (1 + df)) + 1), word by word."""
    words = sorted({word for text in texts for word in text.split()})
    rows = np.zeros((len(texts), len(words)))
    for row, text in zip(rows, texts, strict=True):
        for column, word in enumerate(words):
            tf = text.split().count(word)
            df = sum(word in other.split() for other in texts)
            if tf:
                row[column] = (1 + math.log(tf)) * (math.log((1 + len(texts)) / (1 + df)) + 1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_tfidf_keeps_the_cosines_when_nothing_has_to_be_dropped() -> None:
    texts = ["a b b c", "b d", "c c c d e", "a b b c", "e f a"]
    vectors, expected = tfidf_vectors(texts), by_hand(texts)
    assert vectors.shape == (5, 4)
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-5)


def test_tfidf_vectors_have_length_one_and_few_dimensions() -> None:
    vectors = tfidf_vectors(list(toy_task().train["text"]), dimensions=7)
    assert vectors.shape == (60, 7)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)


def test_tfidf_is_the_same_each_time() -> None:
    texts = list(toy_task().train["text"])
    np.testing.assert_array_equal(tfidf_vectors(texts), tfidf_vectors(texts))


def test_tfidf_sees_every_text_column() -> None:
    first, second = ["x y", "x y", "x z", "x z"], ["p q", "r s", "t u", "t u"]
    rows = Dataset.from_dict({"first": first, "second": second, "label": [0, 1, 0, 1]})
    task = replace(toy_task(), input_columns=("first", "second"), splits={"train": rows})
    vectors = embed_rows(task, "train", "tfidf", "mean", StageContext(0, Path()))
    assert not np.allclose(vectors[0], vectors[1])


@pytest.mark.parametrize("texts", [["only one"], ["word", "word"]])
def test_tfidf_of_one_text_or_one_word_needs_no_projection(texts: list[str]) -> None:
    np.testing.assert_allclose(tfidf_vectors(texts), by_hand(texts), rtol=1e-6)


def test_texts_without_words_are_refused() -> None:
    with pytest.raises(UsageError, match="no words"):
        tfidf_vectors(["!!", "..."])

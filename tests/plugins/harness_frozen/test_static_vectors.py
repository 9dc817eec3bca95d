"""The student `static`: its vectors, against the package's own, and a bench with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from harness import UsageError, bench
from harness.testing.text import check_student, toy_context
from harness.testing.toys import toy_task
from harness.types import DistilledData, Recipe, TaskData
from harness_frozen.static_vectors import WORDLLAMA, Static, TokenVectors

wordllama = pytest.importorskip("wordllama")

TEXTS = ["a tasteful little revision", "", "Ünïcode, too: 你好", "one\nof two", "word " * 300]


@pytest.fixture
def task() -> TaskData:
    return toy_task().sealed()


def read(*texts: str, max_length: int = 1000) -> np.ndarray:
    rows = Dataset.from_dict({"text": list(texts)})
    return TokenVectors(WORDLLAMA, ("text",), max_length).read(rows)


def test_the_vectors_are_the_package_s_own(tmp_path: Path) -> None:
    # It looks for its own tokenizer in a folder that its wheel calls otherwise.
    cache = tmp_path / "tokenizers"
    cache.mkdir()
    shutil.copy(WORDLLAMA.tokenizer.path(), cache)
    theirs = wordllama.WordLlama.load(cache_dir=tmp_path, disable_download=True)
    texts = [text for text in TEXTS if text]
    assert read(*texts) == pytest.approx(theirs.embed(texts), abs=1e-6)


def test_a_text_without_tokens_is_zero_and_no_rows_are_none() -> None:
    assert not read("").any()
    assert read().shape == (0, 256)


def test_a_long_text_keeps_its_beginning() -> None:
    assert read("one two three four five", max_length=3) == pytest.approx(read("one two three"))


def test_texts_of_a_row_are_joined() -> None:
    rows = Dataset.from_dict({"first": ["one"], "second": ["of two"]})
    found = TokenVectors(WORDLLAMA, ("first", "second"), 100).read(rows)
    assert np.array_equal(found, read("one\nof two"))


def test_conforms(tmp_path: Path) -> None:
    check_student(Static(), tmp_path)


def test_counts_the_table_and_the_classifier(task: TaskData, tmp_path: Path) -> None:
    data = DistilledData.select(task, range(12))
    info = Static().fit(task, data, Recipe(steps=5), toy_context(tmp_path)).info
    assert info.parameters == 32_000 * 256 + 257 * len(task.label_names)
    assert (info.name, info.variant) == ("static", "wordllama")
    assert info.source.startswith("wordllama==0.4.0.post1 sha256:64b47a2d")


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(UsageError, match="variant of student 'static'") as caught:
        Static(variant="wordlama")
    assert "wordllama" in str(caught.value.hint)


def test_a_bench_takes_it_beside_other_students(tmp_path: Path) -> None:
    result = bench(
        "quickstart",
        students=["static:wordllama"],
        distillers=["random"],
        budgets=["20/class"],
        seeds=[0],
        output=tmp_path / "run",
    )
    scores = {r.distiller.label: r.metrics["accuracy"] for r in result.results}
    assert scores["full"] > scores["random"] > 0.5

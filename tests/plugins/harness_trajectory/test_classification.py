"""The same method for classes: whole texts are learned, labels are real."""

from __future__ import annotations

from pathlib import Path

import pytest
from matching_world import Done, run

from harness.errors import UsageError
from harness.testing.toys import toy_task
from harness_text.students import Bert
from memory_cache import MemoryCache

TINY: dict[str, object] = {"proxy": "bert:tiny", "parameters": "*.layer.0.*,classifier.*"}


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory, cache: MemoryCache) -> Done:
    return run(
        tmp_path_factory.mktemp("classes"), cache, task=toy_task(rows=30).sealed(),
        student=Bert("tiny"), budget="2/class", **TINY,
    )  # fmt: skip


def test_each_class_has_its_rows_and_its_label(classified: Done) -> None:
    rows = classified.data.rows
    assert rows.column_names == ["text", "label"]
    assert rows["label"][:] == [0, 0, 1, 1]
    assert all(text.strip() for text in rows["text"][:])


def test_learning_lowers_the_loss_of_the_real_rows(classified: Done) -> None:
    report = classified.data.report
    before = report["matching_loss_initial_at_learned_step"]
    assert report["matching_loss_before_projection"] < before


def test_only_the_named_parameters_are_matched(classified: Done) -> None:
    model = Bert("tiny").build(classified.task, classified.context).model
    named = [p.numel() for n, p in model.named_parameters() if ".layer.0." in n or "classif" in n]
    assert classified.data.report["matched_parameters"] == sum(named)


def test_adapters_of_a_classifier_are_refused(tmp_path: Path, cache: MemoryCache) -> None:
    with pytest.raises(UsageError, match="'lora' is for language models"):
        run(
            tmp_path, cache, task=toy_task(rows=30).sealed(), student=Bert("tiny"),
            budget="2/class", parameters="lora",
        )  # fmt: skip

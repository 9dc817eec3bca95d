"""What the method says about itself, against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from harness.kit.training.batching import EncodedRows
from harness.types import TaskData
from harness_dilm.generator.model import Generator
from harness_dilm.generator.synthesis import SyntheticRows
from harness_dilm.report import (
    ends,
    reencoding_mismatch,
    report_language_model,
    report_matching,
    report_samples,
)


def rows_of(generator: Generator, texts: list[str], **changes: object) -> SyntheticRows:
    """Rows of class 0 whose ids are those of their texts."""
    form = generator.format
    ids = tuple(form.join(0, form._tokenise([text])) for text in texts)
    values = {
        "columns": ("text",),
        "sequences": EncodedRows(ids),
        "fields": tuple((text,) for text in texts),
        "labels": np.zeros(len(texts), np.int64),
        "complete": np.ones(len(texts), bool),
        "malformed": 0,
        "empty": 0,
    }
    return SyntheticRows(**{**values, **changes})  # type: ignore[arg-type]


def test_matching_is_told_apart_by_learner_step() -> None:
    """Class-wise gradients are nearly parallel at step 0, so its similarity stands alone."""
    trace = {
        "similarity": np.array([0.99, 0.5, 0.97, 0.7]),
        "gradient_norm": np.array([1e-5, 2.0, 3e-5, 4.0]),
        "degenerate": np.array([0.0, 2.0, 0.0, 1.0]),
        "age": np.array([0.0, 1.0, 2.0, 0.0]),
        "used_share": np.array([0.25, 0.75]),
    }
    report = report_matching(trace, inner_steps=2, between=20)
    assert report["similarity_at_learner_step_0"] == pytest.approx(0.98)
    assert report["similarity_at_learner_step_20"] == pytest.approx(0.6)
    assert report["gradient_norm_at_learner_step_0"] == pytest.approx(2e-5)
    assert report["gradient_norm_at_learner_step_20"] == pytest.approx(3.0)
    assert (report["similarity_start"], report["similarity_end"]) == (0.99, 0.7)
    assert (report["zero_gradients"], report["match_updates"]) == (3, 4)
    assert (report["sample_age_mean"], report["sample_age_max"]) == (0.75, 2)
    assert report["pool_used_share"] == 0.5


def test_start_and_end_are_tenths() -> None:
    assert ends(np.arange(40.0)) == (1.5, 37.5)
    assert ends(np.array([3.0])) == (3.0, 3.0)
    report = report_language_model(np.arange(40.0))
    assert report == {"lm_steps": 40, "lm_loss_start": 1.5, "lm_loss_end": 37.5}
    assert report_language_model(np.empty(0)) == {"lm_steps": 0}


def test_shares_of_samples_are_those_counted_by_hand(generator: Generator, task: TaskData) -> None:
    known = task.train["text"][0]
    texts = [known, "a new film", "a new film", "another one"]
    complete = np.array([True, True, True, False])
    pool = rows_of(generator, texts, malformed=4, empty=2, complete=complete)
    report = report_samples(generator, pool, np.array([0, 1]), task)
    assert (report["generated"], report["selection_ratio"]) == (4, 2)
    assert (report["share_malformed"], report["share_empty"]) == (4 / 8, 2 / 8)
    assert report["share_truncated"] == 0.25
    assert report["share_duplicates"] == 0.25
    assert (report["share_train_copies"], report["share_train_copies_kept"]) == (0.25, 0.5)


def test_rows_whose_text_reads_as_other_tokens_are_counted(generator: Generator) -> None:
    """A text spelt byte by byte is read back in longer pieces."""
    pool = rows_of(generator, ["the film is good", "the plot is bad"])
    assert reencoding_mismatch(generator, pool) == 0.0
    form = generator.format
    spelt = [
        form.tokenizer.convert_tokens_to_ids(letter) for letter in ("Ġ", "t", "h", "e", "Ġ", "f")
    ]
    ids = (form.join(0, [spelt]), pool.sequences.ids[1])
    other = rows_of(generator, ["the f", "the plot is bad"], sequences=EncodedRows(ids))
    assert reencoding_mismatch(generator, other) == 0.5


def test_a_row_cut_at_the_limit_is_compared_without_an_end_token(generator: Generator) -> None:
    pool = rows_of(generator, ["the film is good"])
    cut = EncodedRows((pool.sequences.ids[0][:-1],))
    complete = np.array([False])
    assert reencoding_mismatch(
        generator, rows_of(generator, ["the film is good"], sequences=cut, complete=complete)
    ) == 0.0  # fmt: skip

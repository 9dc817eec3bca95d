"""The student: which rows it shows, what it keeps, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from causal_models import llama, make_lm, wrapped
from harness.context import StageContext
from harness.errors import HarnessWarning, UsageError
from harness.kit.language.causal_lm import CausalLM
from harness.protocols import Predictor, Student
from harness.testing.text import check_student
from harness.types import DistilledData, Recipe, TaskData
from harness_frozen.in_context import InContext
from resolved import resolved

MakeContext = Callable[..., StageContext]
STUDENT = InContext(model="the-lm")


@pytest.fixture
def lm(tokenizer: PreTrainedTokenizerFast) -> CausalLM:
    return wrapped(llama(len(tokenizer), max_position_embeddings=512), tokenizer)


def fit(
    student: InContext, task: TaskData, context: StageContext, rows: Any = range(12), **data: Any
) -> Any:
    chosen = replace(DistilledData.select(task, rows), **data)
    return student.fit(task, chosen, Recipe(), context)


def test_it_is_a_student_that_uses_another(
    lm: CausalLM, reviews: TaskData, context_with: MakeContext
) -> None:
    assert isinstance(STUDENT, Student)
    assert STUDENT.uses_students == ("the-lm",)
    made = fit(STUDENT, reviews.sealed(), context_with(lm))
    assert isinstance(made, Predictor)
    assert (made.info.name, made.info.variant) == ("in-context", "the-lm")
    assert (made.info.source, made.info.parameters) == (lm.info.source, lm.info.parameters)


def test_it_conforms(
    lm: CausalLM, reviews: TaskData, context_with: MakeContext, tmp_path: Path
) -> None:
    def context(folder: Path, seed: int) -> StageContext:
        return context_with(lm, seed)

    check_student(replace(STUDENT, orders=2), tmp_path, reviews, make_context=context)


class TestWhatIsShown:
    def test_all_rows_in_a_random_order(
        self, lm: CausalLM, reviews: TaskData, context_with: MakeContext
    ) -> None:
        shown = fit(STUDENT, reviews, context_with(lm)).demonstrations
        assert shown.texts == tuple((text,) for text in reviews.train["text"])
        assert list(shown.labels) == reviews.train["label"]
        assert sorted(shown.orders[0]) == list(range(12))
        assert shown.orders[0] != tuple(range(12))

    def test_shots_of_each_class_by_seed(
        self, lm: CausalLM, reviews: TaskData, context_with: MakeContext
    ) -> None:
        student = replace(STUDENT, shots=2, orders=2)
        first, again, other = (
            fit(student, reviews, context_with(lm, seed)).demonstrations for seed in (0, 0, 1)
        )
        assert first == again != other
        assert list(np.bincount(first.labels)) == [2, 2]

    def test_soft_labels_are_shown_as_the_most_probable_class(
        self, lm: CausalLM, reviews: TaskData, context_with: MakeContext
    ) -> None:
        soft = np.array([[0.4, 0.6], [0.9, 0.1]])
        shown = fit(STUDENT, reviews, context_with(lm), [0, 1], soft_labels=soft).demonstrations
        assert shown.labels == (1, 0)

    def test_rows_of_weight_0_are_not_shown(
        self, lm: CausalLM, reviews: TaskData, context_with: MakeContext
    ) -> None:
        weights = np.array([0.0, 0.5, 2.0])
        shown = fit(STUDENT, reviews, context_with(lm), [0, 1, 2], weights=weights).demonstrations
        assert shown.texts == (("warm film 0",), ("cold film 1",))

    def test_nothing_without_rows_or_steps(
        self, lm: CausalLM, reviews: TaskData, context_with: MakeContext
    ) -> None:
        """The row `base` fits in no step, on a row that must not be seen."""
        data = DistilledData.select(reviews, [0])
        base = STUDENT.fit(reviews, data, Recipe(steps=0), context_with(lm))
        empty = fit(replace(STUDENT, orders=3), reviews, context_with(lm), ())
        assert len(base.demonstrations) == len(empty.demonstrations) == 0
        np.testing.assert_array_equal(base.predict(reviews.test), empty.predict(reviews.test))

    def test_what_does_not_fit_is_left_out_of_all_classes_alike(
        self, lm: CausalLM, reviews: TaskData, context_with: MakeContext
    ) -> None:
        student, context = replace(STUDENT, max_length=75), context_with(lm)
        with pytest.warns(HarnessWarning, match=r"8 of 12 examples are left out.* 2 of each class"):
            made = fit(student, reviews, context)
        assert list(np.bincount(made.demonstrations.labels)) == [2, 2]
        assert list(context.curves["examples of each class"].values) == [2, 2]
        made.predict(reviews.test)

    def test_not_even_one_of_each_class_is_refused_with_the_tokens_needed(
        self, lm: CausalLM, reviews: TaskData, context_with: MakeContext
    ) -> None:
        with pytest.raises(UsageError, match="not even one example of each class") as caught:
            fit(replace(STUDENT, max_length=20), reviews, context_with(lm))
        needed = int(caught.value.hint.partition("Set max_length to ")[2].split()[0])
        with pytest.warns(HarnessWarning, match="10 of 12"):
            fit(replace(STUDENT, max_length=needed), reviews, context_with(lm))
        with pytest.raises(UsageError):
            fit(replace(STUDENT, max_length=needed - 1), reviews, context_with(lm))


@pytest.mark.parametrize("rows", [range(6), ()], ids=["examples", "none"])
def test_read_back_it_predicts_the_same(
    rows: Any, lm: CausalLM, reviews: TaskData, context_with: MakeContext, tmp_path: Path
) -> None:
    student = replace(STUDENT, orders=2, calibrate=True)
    made = fit(student, reviews, context_with(lm), rows)
    made.save(tmp_path / "saved")
    again = student.load(tmp_path / "saved", reviews.sealed(), context_with(lm, seed=9))
    assert again.info == made.info
    np.testing.assert_array_equal(again.predict(reviews.test), made.predict(reviews.test))
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} == {".jsonl"}


def test_impossible_requests_are_named(
    lm: CausalLM, reviews: TaskData, context_with: MakeContext
) -> None:
    with pytest.raises(UsageError, match="needs a language model"):
        InContext()
    for name in ("shots", "max_length"):
        with pytest.raises(UsageError, match=f"{name} = -1: should be .*, at least 0"):
            resolved(InContext, model="the-lm", **{name: -1})
    with pytest.raises(UsageError, match="orders = 0: should be a whole number, at least 1"):
        resolved(InContext, model="the-lm", orders=0)
    with pytest.raises(UsageError, match="'the-lm' builds no causal language model"):
        fit(STUDENT, reviews, context_with("no model"))
    with pytest.raises(UsageError, match="begin with the same token"):
        fit(replace(STUDENT, label_words=("class-0", "class-1")), reviews, context_with(lm))


def test_prompts_are_plain_text_for_a_model_of_chats_too(
    tokenizer: PreTrainedTokenizerFast, reviews: TaskData, context_with: MakeContext
) -> None:
    plain, chat = (make_lm(tokenizer=tokenizer, chat=chat) for chat in (False, True))
    found = [fit(STUDENT, reviews, context_with(lm), [0, 1]).predict(reviews.test)
             for lm in (plain, chat)]  # fmt: skip
    np.testing.assert_array_equal(*found)

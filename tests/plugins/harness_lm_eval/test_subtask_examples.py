"""Examples from a question's own subtask: MMLU through the harness is lm-eval's own MMLU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from causal_models import CHAT_TEMPLATE, byte_tokenizer, make_lm
from harness.errors import UsageError
from harness.kit.text.templates import Template
from harness.testing.instruction import toy_instruction_task
from harness.testing.text import toy_context
from harness.types import Score, Split, TaskData
from harness_instruct.questions import Question
from harness_instruct.tasks import Mmlu
from harness_lm_eval.evaluator import LmEval
from harness_lm_eval.model import CheckedModel
from lm_eval_alone import run_alone, samples_of

Evaluate = Callable[..., Score]
SUBJECTS = ("college_biology", "anatomy")
DEV, TEST = 5, 4


def corpus(subject: str, split: str, count: int) -> list[dict[str, Any]]:
    """Rows as the corpus has them."""
    return [
        {
            "question": f"{split} {n}: what of {subject}? ",
            "choices": [f"{word} {n}" for word in ("cell", "bone", "leaf", "none")],
            "answer": (n * 3 + len(subject)) % 4,
            "subject": subject,
        }
        for n in range(count)
    ]


def mixed(split: str, count: int) -> list[dict[str, Any]]:
    """The subjects' rows in turn, so that none stand together."""
    each = [corpus(subject, split, count) for subject in SUBJECTS]
    return [row for rows in zip(*each, strict=True) for row in rows]


def rows_of(split: str, count: int) -> Dataset:
    template = Template(Mmlu.template)
    made = [
        Question(
            row["question"].strip(), tuple(row["choices"]), row["answer"], row["subject"]
        ).instruction(template, letters=True)
        for row in mixed(split, count)
    ]
    columns = ("prompt", "completion", "choices", "answer", "subtask")
    return Dataset.from_dict({name: [getattr(row, name) for row in made] for name in columns})


def mmlu() -> TaskData:
    """The harness's own MMLU, with these rows."""
    dev = rows_of("dev", DEV)
    return replace(
        toy_instruction_task(metric="acc"),
        name="mmlu",
        splits={
            "train": dev.select_columns(["prompt", "completion"]),
            "validation": dev,
            "test": rows_of("test", TEST),
        },
        scoring_columns=Mmlu.scoring,
    )


def lm_evals_own(subject: str) -> dict[str, Any]:
    """The settings that come with lm-eval, but for where the rows are from."""
    import lm_eval
    from lm_eval.tasks._yaml_loader import load_yaml

    folder = Path(lm_eval.__file__).parent / "tasks" / "mmlu" / "default"
    settings = load_yaml(folder / f"mmlu_{subject}.yaml", resolve_func=False)
    dropped = ("dataset_path", "dataset_name", "tag", "task_alias", "dataset_kwargs")
    splits = {
        split: Dataset.from_list(corpus(subject, split, count))
        for split, count in (("dev", DEV), ("test", TEST))
    }
    kept = {name: value for name, value in settings.items() if name not in dropped}
    return {**kept, "custom_dataset": lambda **_: splits}


def asked_of(
    monkeypatch: pytest.MonkeyPatch, folder: Path, task: TaskData, split: Split, **options: Any
) -> list[str]:
    """Context and first choice of each question, joined."""
    seen: list[str] = []

    def constant(self: Any, requests: Any, disable_tqdm: bool = False) -> Any:
        seen.extend("".join(request.args) for request in requests)
        return [(-1.0, False)] * len(requests)

    monkeypatch.setattr(CheckedModel, "loglikelihood", constant)
    lm = make_lm(tokenizer=byte_tokenizer())
    lm.tokenizer.chat_template = CHAT_TEMPLATE
    LmEval(**options).evaluate(lm, task, split, toy_context(folder))
    return seen[::4]


@pytest.mark.parametrize("shots", [0, 2, 5])
def test_outcomes_and_texts_are_those_of_lm_evals_own_mmlu(
    shots: int, evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = make_lm("llama", seed=3)
    lm.model.config.max_position_embeddings = 4096
    score = evaluate(lm, mmlu(), num_fewshot=shots)
    texts = asked_of(monkeypatch, tmp_path, mmlu(), "test", num_fewshot=shots)
    monkeypatch.undo()
    for place, subject in enumerate(SUBJECTS):
        settings = lm_evals_own(subject)
        alone = samples_of(run_alone(lm, settings, num_fewshot=shots), settings["task"])
        own = slice(place, None, len(SUBJECTS))
        assert score.items["score"][own].tolist() == [sample["acc"] == 1.0 for sample in alone]
        assert texts[own] == ["".join(s["arguments"][0]) for s in alone]


def test_the_subject_is_named_once_and_its_examples_come_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in asked_of(monkeypatch, tmp_path, mmlu(), "test", num_fewshot=3):
        (subject,) = (s for s in SUBJECTS if f"about {s.replace('_', ' ')}." in text)
        assert text.count("The following are") == 1
        assert [line for line in text.split("\n") if line.startswith("dev")] == [
            f"dev {n}: what of {subject}?" for n in range(3)
        ]


def test_a_question_of_validation_is_no_example_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = asked_of(monkeypatch, tmp_path, mmlu(), "validation", num_fewshot=4)
    questions = [row["question"].strip() for row in mixed("dev", DEV)]
    for text, question in zip(texts, questions, strict=True):
        assert text.count(question) == 1
        assert text.count("Answer: ") == 5


def test_turns_of_a_chat_are_whole_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = asked_of(monkeypatch, tmp_path, mmlu(), "test", num_fewshot=2, chat="on")
    assert all(text.count("[user]The following are") == 3 for text in texts)


class TestTooFewExamples:
    def test_of_a_subtask_are_refused_before_anything_is_trained(self) -> None:
        evaluator, task = LmEval(num_fewshot=5), mmlu().sealed()
        evaluator.check(task, {}, tunes=False)
        with pytest.raises(UsageError, match=r"but subtask '.*' of validation of 'mmlu' has 4 ex"):
            evaluator.check(task, {}, tunes=True)
        with pytest.raises(UsageError, match="num_fewshot = 6, but subtask"):
            LmEval(num_fewshot=6).check(task, {}, tunes=False)

    def test_of_a_subtask_that_only_the_test_has(self, evaluate: Evaluate) -> None:
        task = mmlu()
        strange = task.test.remove_columns("subtask").add_column("subtask", ["law"] * 2 * TEST)
        task = replace(task, splits={**task.splits, "test": strange})
        with pytest.raises(UsageError, match="subtask 'law' of 'mmlu' has 0 examples"):
            evaluate(make_lm(), task, num_fewshot=1)


def test_the_number_of_examples_is_part_of_what_is_measured() -> None:
    assert LmEval().fingerprint() != LmEval(num_fewshot=2).fingerprint()

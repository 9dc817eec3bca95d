"""The harness task's own questions: what lm-eval alone gives, and what raw numbers give."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from causal_models import CHAT_TEMPLATE, byte_tokenizer, make_lm
from harness.components import Component
from harness.contracts import check_score
from harness.errors import ContractError, HarnessWarning, UsageError
from harness.kit.causal_lm import CausalLM
from harness.testing import toy_context, toy_task
from harness.testing_instruct import FixedLikelihood, toy_instruction_task
from harness.types import Score, Split, TaskData
from harness_lm_eval.evaluator import LmEval
from lm_eval_alone import run_alone, samples_of

METRICS = ("acc", "acc_norm", "acc_bytes")
_WORDS = ("green", "white", "red", "a", "the", "of", "cold", "very long", "ünï", "snow", "is not")


def random_rows(rows: int, seed: int) -> dict[str, list[Any]]:
    """Questions of random words with two to five random choices; the answer's place varies."""
    draw = random.Random(seed)

    def text(most: int) -> str:
        return " ".join(draw.choices(_WORDS, k=draw.randint(1, most)))

    choices = [[text(4) for _ in range(draw.randint(2, 5))] for _ in range(rows)]
    answers = [draw.randrange(len(options)) for options in choices]
    return {
        "prompt": [f"Question {seed}.{n}: {text(5)}?\nAnswer: " for n in range(rows)],
        "completion": [options[a] for options, a in zip(choices, answers, strict=True)],
        "choices": choices,
        "answer": answers,
    }


def random_task(rows: int = 60, metric: str = "acc_norm") -> TaskData:
    test, validation = (Dataset.from_dict(random_rows(n, s)) for n, s in ((rows, 1), (12, 2)))
    return replace(
        toy_instruction_task(metric=metric),
        splits={"train": validation.select_columns(["prompt", "completion"]),
                "validation": validation, "test": test},
        scoring_columns=("choices", "answer"),
    )  # fmt: skip


def plain_config(rows: Dataset, **changes: Any) -> dict[str, Any]:
    """The same questions as somebody who knows lm-eval alone would describe them."""
    return {
        "task": "alone",
        "custom_dataset": lambda **_: {"test": rows},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": lambda doc: doc["prompt"].rstrip(),
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in METRICS
        ],
        **changes,
    }


Evaluate = Callable[..., Score]


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    def run(lm: object, task: TaskData, split: Split = "test", **options: Any) -> Score:
        return LmEval(**options).evaluate(lm, task, split, toy_context(tmp_path))

    return run


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
@pytest.mark.parametrize("starts", [False, True])
def test_scores_are_those_of_lm_eval_alone(family: str, starts: bool, evaluate: Evaluate) -> None:
    task = random_task()
    lm = make_lm(family, seed=3, tokenizer=byte_tokenizer(starts=starts))
    score = evaluate(lm, task)
    alone = run_alone(lm, plain_config(task.test))
    assert set(score.metrics) == set(METRICS)
    for metric, value in score.metrics.items():
        assert value == alone["results"]["alone"][f"{metric},none"]
        each = [sample[metric] for sample in samples_of(alone, "alone")]
        assert score.items[metric].tolist() == [value == 1.0 for value in each]
    assert score.main == "acc_norm"
    assert 0 < score.value < 1
    assert score.items["score"].tolist() == score.items["acc_norm"].tolist()


def test_scores_are_ten_lines_of_torch(evaluate: Evaluate) -> None:
    task = random_task(200)
    lm = make_lm("llama", seed=5)
    outcomes: dict[str, list[bool]] = {metric: [] for metric in METRICS}
    with torch.no_grad():
        for row in task.test:
            sums = []
            head = lm.tokenizer(row["prompt"].rstrip())["input_ids"]
            for choice in row["choices"]:
                ids = lm.tokenizer(row["prompt"] + choice)["input_ids"]
                log_p = lm.model(torch.tensor([ids])).logits[0].log_softmax(1)
                places = range(len(head), len(ids))
                sums.append(sum(float(log_p[p - 1, ids[p]]) for p in places))
            lengths = {"acc": lambda c: 1, "acc_norm": len, "acc_bytes": lambda c: len(c.encode())}
            for metric, length in lengths.items():
                best = np.argmax([s / length(c) for s, c in zip(sums, row["choices"], strict=True)])
                outcomes[metric].append(bool(best == row["answer"]))
    score = evaluate(lm, task)
    for metric in METRICS:
        assert score.items[metric].tolist() == outcomes[metric]
        assert score.metrics[metric] == np.mean(outcomes[metric])


def test_what_is_scored_is_what_the_student_is_asked(
    evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompt and choice joined give the same text as for the evaluator `multiple-choice`."""
    from harness_lm_eval.model import CheckedModel

    asked: list[tuple[str, str]] = []
    original = CheckedModel.loglikelihood

    def listening(self: Any, requests: Any, disable_tqdm: bool = False) -> Any:
        asked.extend(request.args for request in requests)
        return original(self, requests, disable_tqdm)

    monkeypatch.setattr(CheckedModel, "loglikelihood", listening)
    task = random_task(20)
    evaluate(make_lm(), task)
    rows = task.test
    pairs = [(row["prompt"], choice) for row in rows for choice in row["choices"]]
    assert asked == pairs


def test_agrees_with_the_log_likelihoods_of_the_student(evaluate: Evaluate) -> None:
    task, lm = random_task(), make_lm("llama", seed=4)
    score = evaluate(lm, task)
    pairs = [(row["prompt"], choice) for row in task.test for choice in row["choices"]]
    sums = np.split(
        lm.loglikelihood(pairs).sums, np.cumsum([len(c) for c in task.test["choices"]])[:-1]
    )
    best = [
        int(np.argmax(own / np.array([len(choice) for choice in choices])))
        for own, choices in zip(sums, task.test["choices"], strict=True)
    ]
    assert score.items["prediction"].tolist() == best
    assert score.items["target"].tolist() == task.test["answer"]


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_size_changes_no_outcome(batch_size: int, evaluate: Evaluate) -> None:
    task, lm = random_task(30), make_lm(seed=2)
    assert (
        evaluate(lm, task, batch_size=batch_size).items["prediction"].tolist()
        == evaluate(lm, task, batch_size=32).items["prediction"].tolist()
    )


def test_a_score_keeps_its_contract(evaluate: Evaluate) -> None:
    task, lm = random_task(), make_lm()
    component = Component("evaluator", "lm-eval", LmEval, "", "lm-eval", "", "1")
    for split in ("test", "validation"):
        score = evaluate(lm, task, split)  # type: ignore[arg-type]
        assert score.scored is None
        check_score(component, score, task, split)  # type: ignore[arg-type]
    limited = evaluate(lm, task, limit=7)
    assert (limited.scored, len(limited.items["score"])) == (7, 7)
    check_score(component, limited, task, "test")


def test_the_first_documents_are_scored_with_a_limit(evaluate: Evaluate) -> None:
    task, lm = random_task(), make_lm()
    whole, part = evaluate(lm, task), evaluate(lm, task, limit=9)
    for name, values in part.items.items():
        assert values.tolist() == whole.items[name][:9].tolist()
    assert part.value == np.mean(whole.items["score"][:9])
    beyond = evaluate(lm, task, limit=10_000)
    assert beyond.scored is None
    assert beyond.metrics == whole.metrics


def test_another_metric_can_rank(evaluate: Evaluate) -> None:
    task, lm = random_task(), make_lm(seed=3)
    normal, plain = evaluate(lm, task), evaluate(lm, task, metric="acc")
    assert plain.main == "acc"
    assert plain.metrics == normal.metrics
    assert plain.items["score"].tolist() == normal.items["acc"].tolist()
    assert plain.items["prediction"].tolist() != normal.items["prediction"].tolist()


@pytest.mark.parametrize("split", ["test", "validation"])
def test_validation_is_scored_without_a_test_split(split: Split, evaluate: Evaluate) -> None:
    task = random_task().sealed()
    if split == "validation":
        assert len(evaluate(make_lm(), task, split).items["score"]) == 12
        return
    with pytest.raises(ContractError, match="test is opened once"):
        evaluate(make_lm(), task, split)


class TestExamples:
    def test_are_those_of_lm_eval_alone(self, evaluate: Evaluate) -> None:
        task = random_task(20)
        lm = make_lm("llama", seed=3)
        lm.model.config.max_position_embeddings = 512
        score = evaluate(lm, task, num_fewshot=2, fewshot_seed=7)
        config = plain_config(
            task.test,
            custom_dataset=lambda **_: {"test": task.test, "shown": task.validation},
            fewshot_split="shown",
        )
        alone = run_alone(lm, config, num_fewshot=2, seed=7)
        assert alone["n-shot"] == {"alone": 2}
        for metric, value in score.metrics.items():
            assert value == alone["results"]["alone"][f"{metric},none"]
        without = evaluate(lm, task)
        assert without.items["prediction"].tolist() != score.items["prediction"].tolist()

    def prompts(
        self, task: TaskData, split: Split, monkeypatch: pytest.MonkeyPatch, folder: Path, **o: Any
    ) -> list[str]:
        from harness_lm_eval.model import CheckedModel

        seen: list[str] = []

        def constant(self: Any, requests: Any, disable_tqdm: bool = False) -> Any:
            seen.extend(request.args[0] for request in requests)
            return [(-1.0, False)] * len(requests)

        monkeypatch.setattr(CheckedModel, "loglikelihood", constant)
        LmEval(**o).evaluate(make_lm(), task, split, toy_context(folder))
        return seen

    def test_a_seed_gives_the_same_ones_every_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def run(seed: int) -> list[str]:
            return self.prompts(
                random_task(10), "test", monkeypatch, tmp_path, num_fewshot=2, fewshot_seed=seed
            )

        assert run(1) == run(1)
        assert run(1) != run(2)

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_no_question_is_shown_with_its_answer(
        self, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task = random_task(10)
        first = task.validation.select(range(6))
        task = replace(task, splits={**task.splits, "test": first})
        seen = self.prompts(task, split, monkeypatch, tmp_path, num_fewshot=4)
        questions = set(task.validation["prompt"])
        for prompt in seen:
            shown = [question for question in questions if question.rstrip() in prompt]
            assert len(shown) == 5
            asked = [question for question in shown if prompt.endswith(question)]
            assert len(asked) == 1
            assert prompt.count(asked[0].rstrip()) == 1
            if split == "test":
                assert not set(shown) - set(asked) & set(first["prompt"])

    def test_too_many_are_refused(self, evaluate: Evaluate) -> None:
        with pytest.raises(
            UsageError, match=r"num_fewshot = 12, but validation .* has 11 examples"
        ):
            evaluate(make_lm(), random_task(), num_fewshot=12)
        with pytest.raises(UsageError, match="num_fewshot = 12"):
            LmEval(num_fewshot=12).check(random_task().sealed(), tunes=False)


class TestLongPrompts:
    def lm(self) -> CausalLM:
        return make_lm("llama", seed=3)

    def test_are_cut_as_lm_eval_cuts_them_and_counted(self, evaluate: Evaluate) -> None:
        task, lm = random_task(), self.lm()
        with pytest.warns(HarnessWarning, match=r"\d+ of 60 documents had prompts longer than"):
            score = evaluate(lm, task, max_length=24)
        alone = run_alone(lm, plain_config(task.test), max_length=24)
        for metric, value in score.metrics.items():
            assert value == alone["results"]["alone"][f"{metric},none"]
        longest = [
            max(len(lm.tokenizer(row["prompt"] + c)["input_ids"]) for c in row["choices"])
            for row in task.test
        ]
        assert score.items["truncated"].tolist() == [length > 25 for length in longest]
        assert 0 < score.items["truncated"].mean() < 1

    def test_can_be_refused(self, evaluate: Evaluate) -> None:
        with pytest.raises(UsageError, match="the prompt is longer than the 24 tokens"):
            evaluate(self.lm(), random_task(), max_length=24, long_prompts="refuse")
        assert evaluate(self.lm(), random_task(), long_prompts="refuse").value

    def test_a_choice_longer_than_the_model_reads_is_named(self, evaluate: Evaluate) -> None:
        with pytest.raises(UsageError, match=r"document \d+ of 'toy-instructions': the contin"):
            evaluate(self.lm(), random_task(), max_length=2)

    def test_more_than_the_model_takes_is_refused(self, evaluate: Evaluate) -> None:
        with pytest.raises(UsageError, match="max_length = 65 is more than the 64 positions"):
            evaluate(self.lm(), random_task(), max_length=65)


class TestChat:
    def lm(self, *, chat: bool = False) -> CausalLM:
        tokenizer = byte_tokenizer()
        tokenizer.chat_template = CHAT_TEMPLATE
        return make_lm("llama", seed=3, tokenizer=tokenizer, chat=chat)

    def test_follows_the_student(self, evaluate: Evaluate) -> None:
        task = random_task()
        written = evaluate(self.lm(chat=True), task)
        plain = evaluate(self.lm(), task)
        assert written.items["prediction"].tolist() != plain.items["prediction"].tolist()
        for lm, chat, same in (
            (self.lm(), "on", written), (self.lm(chat=True), "off", plain),
        ):  # fmt: skip
            assert evaluate(lm, task, chat=chat).metrics == same.metrics

    def test_is_lm_eval_alone(self, evaluate: Evaluate) -> None:
        task, lm = random_task(), self.lm(chat=True)
        alone = run_alone(
            lm, plain_config(task.test), apply_chat_template=True, fewshot_as_multiturn=True
        )
        assert {f"{k},none": v for k, v in evaluate(lm, task).metrics.items()} == {
            k: v
            for k, v in alone["results"]["alone"].items()
            if k in {f"{m},none" for m in METRICS}
        }

    def test_a_template_must_be_there(self, evaluate: Evaluate) -> None:
        with pytest.raises(UsageError, match="has no chat template"):
            evaluate(make_lm(), random_task(), chat="on")


class TestRefusals:
    def test_a_model_of_nan_scores_nothing(self, evaluate: Evaluate) -> None:
        """lm-eval alone gives such a model the share of first answers."""
        lm = make_lm()
        with torch.no_grad():
            for parameter in lm.model.parameters():
                parameter.fill_(float("nan"))
        with pytest.raises(ContractError, match=r"student 'llama'.* NaN or infinity in \d+ of"):
            evaluate(lm, random_task())

    def test_a_constant_model_gets_the_share_of_first_answers(self, evaluate: Evaluate) -> None:
        lm, task = make_lm(), random_task(metric="acc")
        rows = task.test.map(lambda row: {"choices": ["what", "what"], "answer": row["answer"] % 2})
        task = replace(task, splits={**task.splits, "test": rows})
        assert evaluate(lm, task).value == np.mean(np.array(rows["answer"]) == 0)

    @pytest.mark.parametrize("limit", [1.0, 0.5, "1.0", "some", -1])
    def test_a_limit_is_a_whole_number(self, limit: Any) -> None:
        with pytest.raises(UsageError, match="is no number of documents"):
            LmEval(limit=limit)
        assert LmEval(limit="12") == LmEval(limit=12)

    @pytest.mark.parametrize("option", [{"num_fewshot": -1}, {"batch_size": 0}, {"max_length": -3}])
    def test_numbers_are_in_range(self, option: dict[str, int]) -> None:
        with pytest.raises(UsageError, match="or more"):
            LmEval(**option)  # type: ignore[arg-type]

    def test_a_task_that_does_not_fit_is_named(self, evaluate: Evaluate) -> None:
        task = random_task()
        for broken, pattern in (
            (replace(toy_task(), metric="acc"), "choices and answer"),
            (replace(task, metric="accuracy"), "'accuracy'"),
        ):
            with pytest.raises(ContractError, match=pattern):
                evaluate(make_lm(), broken)
        with pytest.raises(ContractError, match="'perplexity'"):
            evaluate(make_lm(), task, metric="perplexity")

    def test_a_student_without_a_model_is_refused(self) -> None:
        from harness.contracts import check_capabilities

        component = Component("evaluator", "lm-eval", LmEval, "", "lm-eval", "", "1")
        check_capabilities(component, LmEval.needs, make_lm())
        with pytest.raises(ContractError, match="an object that can model"):
            check_capabilities(component, LmEval.needs, FixedLikelihood(lambda *_: -1.0))

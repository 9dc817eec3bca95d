"""The harness task's own questions: what lm-eval alone gives, and what raw numbers give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from causal_models import byte_tokenizer, make_lm
from choice_questions import METRICS, plain_config, random_task
from harness.errors import ContractError, UsageError
from harness.registry.components import Component
from harness.registry.contracts import check_score
from harness.testing.instruction import FixedLikelihood
from harness.testing.toys import toy_task
from harness.types import Score, Split
from harness_lm_eval.evaluator import LmEval
from lm_eval_alone import run_alone, samples_of
from resolved import resolved

Evaluate = Callable[..., Score]


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

    @pytest.mark.parametrize("limit", [1.0, 0.5, "1.0", "some", -1, "-1", "+1", None])
    def test_a_limit_is_a_whole_number(self, limit: Any) -> None:
        with pytest.raises(UsageError, match=r"limit = .*: should be a whole number, at least 0"):
            resolved(LmEval, limit=limit)
        assert resolved(LmEval, limit=" 12 ") == LmEval(limit=12)

    @pytest.mark.parametrize("option", [{"num_fewshot": -1}, {"batch_size": 0}, {"max_length": -3}])
    def test_numbers_are_in_range(self, option: dict[str, int]) -> None:
        with pytest.raises(UsageError, match=r"= -?[0-9]: should be a whole number"):
            resolved(LmEval, **option)

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
        from harness.registry.contracts import check_capabilities

        component = Component("evaluator", "lm-eval", LmEval, "", "lm-eval", "", "1")
        check_capabilities(component, LmEval.needs, make_lm())
        with pytest.raises(ContractError, match="an object that can model"):
            check_capabilities(component, LmEval.needs, FixedLikelihood(lambda *_: -1.0))

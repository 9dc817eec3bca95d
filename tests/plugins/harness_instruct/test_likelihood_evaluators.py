"""Evaluators on language models made by hand, against ten lines of NumPy and against lm-eval."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from causal_models import make_lm
from harness.errors import ContractError
from harness.registry.contracts import check_score
from harness.testing.instruction import (
    FixedLikelihood,
    check_likelihood_evaluator,
    toy_instruction_task,
)
from harness.testing.text import toy_context
from harness.testing.toys import toy_task
from harness.types import LogLikelihoods, Score, TaskData
from harness_instruct.evaluators import CompletionLikelihood, MultipleChoice

QUESTIONS = [
    ("Is snow white or a very long green? ", ["white", "a very long green"], 0),
    ("Is grass ünï or green? ", ["ünïünï", "greens"], 1),
    ("Is coal red, white or black? ", ["red", "white", "black"], 2),
    ("Is blood red? ", ["no", "yes it is red"], 1),
]


def task_of(questions: list[tuple[str, list[str], int]], metric: str = "acc_norm") -> TaskData:
    rows = Dataset.from_dict(
        {
            "prompt": [prompt for prompt, _, _ in questions],
            "completion": [choices[answer] for _, choices, answer in questions],
            "choices": [choices for _, choices, _ in questions],
            "answer": [answer for _, _, answer in questions],
        }
    )
    return replace(
        toy_instruction_task(metric=metric),
        splits={"train": rows.select_columns(["prompt", "completion"]), "test": rows},
        scoring_columns=("choices", "answer"),
    )


def evaluate(model: object, task: TaskData, folder: Path) -> Score:
    return MultipleChoice().evaluate(model, task, "test", toy_context(folder))  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", ["acc", "acc_norm", "acc_bytes"])
def test_conforms(metric: str, tmp_path: Path) -> None:
    check_likelihood_evaluator(MultipleChoice(), tmp_path, toy_instruction_task(metric=metric))


def test_each_metric_divides_by_its_own_length(tmp_path: Path) -> None:
    scores = {
        "white": -10.0, "a very long green": -20.0,
        "ünïünï": -12.0, "greens": -13.0,
        "red": -1.0, "black": -2.0,
        "no": -4.0, "yes it is red": -5.0,
    }  # fmt: skip
    model = FixedLikelihood(lambda _, choice: scores[choice])
    found = evaluate(model, task_of(QUESTIONS), tmp_path)
    # Plain: 0, 0, 0, 0. By characters -2.0 against -1.18, -2.0 against -2.17, -.33 against -.4
    # and -2, -2 against -.38. By bytes the second is -1.2 against -2.17 instead.
    assert found.metrics == {"acc": 0.25, "acc_norm": 0.25, "acc_bytes": 0.25}
    assert found.items["prediction"].tolist() == [1, 0, 0, 1]
    closer = FixedLikelihood(lambda _, c: {"ünïünï": -13.0, "greens": -11.0}.get(c, scores[c]))
    assert evaluate(closer, task_of(QUESTIONS), tmp_path).metrics == {
        "acc": 0.5, "acc_norm": 0.5, "acc_bytes": 0.25,
    }  # fmt: skip


def test_is_ten_lines_of_numpy(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    known = {(p, c): -float(generator.exponential(9)) for p, cs, _ in QUESTIONS for c in cs}
    found = evaluate(FixedLikelihood(lambda *pair: known[pair]), task_of(QUESTIONS), tmp_path)
    outcomes = []
    for prompt, choices, answer in QUESTIONS:
        values = [known[prompt, choice] / len(choice) for choice in choices]
        outcomes.append(int(np.argmax(values)) == answer)
    assert found.items["score"].tolist() == outcomes
    assert found.items["target"].tolist() == [0, 1, 2, 1]
    assert found.value == np.mean(outcomes)
    check_score_of(found)


def check_score_of(score: Score) -> None:
    from harness.registry.components import Component

    component = Component("evaluator", "multiple-choice", MultipleChoice, "", "instruct", "", "1")
    check_score(component, score, task_of(QUESTIONS), "test")


def test_a_constant_model_gets_the_share_of_first_answers(tmp_path: Path) -> None:
    model = FixedLikelihood(lambda prompt, choice: -7.0)
    assert evaluate(model, task_of(QUESTIONS, "acc"), tmp_path).value == 0.25


def test_is_what_lm_eval_measures(tmp_path: Path) -> None:
    """The same model, rows and numbers through lm-eval's own task, model and evaluator."""
    from lm_eval.evaluator import evaluate as lm_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    lm = make_lm(seed=2)
    questions = [(f"{p}{n} ", c, a) for n in range(12) for p, c, a in QUESTIONS]
    task = task_of(questions)
    config = {
        "task": "ours",
        "custom_dataset": lambda **_: {"test": task.test},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": lambda doc: doc["prompt"].rstrip(),
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in ("acc", "acc_norm", "acc_bytes")
        ],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = lm_evaluate(
            lm=HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=8, max_length=64),
            task_dict=TaskManager(include_defaults=False).load([config]),
            bootstrap_iters=0,
            log_samples=True,
        )
    found = evaluate(lm, task, tmp_path)
    results = theirs["results"]["ours"]
    for metric, value in found.metrics.items():
        assert results[f"{metric},none"] == value
    samples = sorted(theirs["samples"]["ours"], key=lambda sample: sample["doc_id"])
    assert found.items["score"].tolist() == [sample["acc_norm"] == 1.0 for sample in samples]
    assert 0 < found.value < 1


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_a_value_that_is_not_finite_is_refused(bad: float, tmp_path: Path) -> None:
    model = FixedLikelihood(lambda _, choice: bad if choice == "black" else -1.0)
    with pytest.raises(ContractError, match="NaN or infinity in 1 of 9 pairs"):
        evaluate(model, task_of(QUESTIONS), tmp_path)
    completion = CompletionLikelihood()
    with pytest.raises(ContractError, match="NaN or infinity in 1 of 4 pairs"):
        completion.evaluate(model, task_of(QUESTIONS), "test", toy_context(tmp_path))


def test_a_wrong_number_of_values_is_refused(tmp_path: Path) -> None:
    model = FixedLikelihood(lambda *_: -1.0)
    short = LogLikelihoods(np.zeros(3), np.zeros(3, dtype=bool), np.ones(3, dtype=int))
    model.loglikelihood = lambda pairs, context=None: short  # type: ignore[method-assign]
    with pytest.raises(ContractError, match=r"arrays of shape \(9,\)"):
        evaluate(model, task_of(QUESTIONS), tmp_path)


def test_a_task_it_cannot_score_is_named(tmp_path: Path) -> None:
    model = FixedLikelihood(lambda *_: -1.0)
    with pytest.raises(ContractError, match="choices and answer"):
        evaluate(model, toy_task(), tmp_path)
    with pytest.raises(ContractError, match="'token_likelihood'"):
        evaluate(model, task_of(QUESTIONS, "token_likelihood"), tmp_path)


class TestCompletion:
    def test_is_one_over_the_perplexity_of_each_completion(self, tmp_path: Path) -> None:
        lm = make_lm()
        task = task_of(QUESTIONS, "token_likelihood")
        score = CompletionLikelihood().evaluate(lm, task, "test", toy_context(tmp_path))
        found = lm.loglikelihood(
            list(zip(task.test["prompt"], task.test["completion"], strict=True))
        )
        expected = [math.exp(s / t) for s, t in zip(found.sums, found.tokens, strict=True)]
        np.testing.assert_allclose(score.items["score"], expected)
        assert score.main == "token_likelihood"
        assert score.value == pytest.approx(np.mean(expected))

    def test_counts_what_the_model_would_write(self, tmp_path: Path) -> None:
        prompts, completions = ["what", "the answer", "green"], ["x", "y", "z"]
        rows = Dataset.from_dict({"prompt": prompts, "completion": completions})
        model = FixedLikelihood(lambda *_: -1.0)
        model.loglikelihood = lambda pairs, context=None: LogLikelihoods(  # type: ignore[method-assign]
            np.array([-1.0, -2.0, -3.0]), np.array([True, False, True]), np.ones(3, dtype=int)
        )
        task = replace(task_of(QUESTIONS, "greedy_match"), splits={"train": rows, "test": rows})
        score = CompletionLikelihood().evaluate(model, task, "test", toy_context(tmp_path))
        assert (score.main, score.value) == ("greedy_match", pytest.approx(2 / 3))

    def test_goes_with_a_task_that_ranks_by_another_metric(self, tmp_path: Path) -> None:
        task = task_of(QUESTIONS)
        score = CompletionLikelihood().evaluate(
            FixedLikelihood(lambda *_: -2.0), task, "test", toy_context(tmp_path)
        )
        assert score.main == "token_likelihood"

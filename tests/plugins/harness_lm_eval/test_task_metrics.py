"""Which of an lm-eval task's metrics can rank, and what happens to the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import ContractError, UsageError
from harness.types import Score
from harness_lm_eval.evaluator import LmEval

Evaluate = Callable[..., Score]
WriteTask = Callable[..., Path]


def test_a_perplexity_cannot_rank(write_task: WriteTask) -> None:
    path = write_task(
        output_type="loglikelihood",
        doc_to_choice=None,
        doc_to_target="{{choices[label]}}",
        metric_list=[{"metric": "perplexity"}],
    )
    with pytest.raises(UsageError, match=r"no metric that is a fraction.* it has perplexity"):
        LmEval(task=str(path)).fingerprint()


def test_an_accuracy_beside_a_perplexity_can(
    write_task: WriteTask, evaluate_named: Evaluate
) -> None:
    path = write_task(
        output_type="loglikelihood",
        doc_to_choice=None,
        doc_to_target="{{choices[label]}}",
        metric_list=[{"metric": "perplexity"}, {"metric": "acc"}],
    )
    score = evaluate_named(path)
    assert set(score.metrics) == {"acc"}
    assert "prediction" not in score.items


def test_texts_are_generated_and_matched(write_task: WriteTask, evaluate_named: Evaluate) -> None:
    filters = [
        {"name": "whole", "filter": [{"function": "take_first"}]},
        {"name": "lower", "filter": [{"function": "lowercase"}, {"function": "take_first"}]},
    ]
    path = write_task(
        output_type="generate_until",
        doc_to_choice=None,
        doc_to_target="{{choices[label]}}",
        generation_kwargs={"until": ["\n"], "max_gen_toks": 3, "do_sample": False},
        metric_list=[{"metric": "exact_match", "aggregation": "mean",
                      "higher_is_better": True}],
        filter_list=filters,
        test_rows=6,
    )  # fmt: skip
    score = evaluate_named(path, metric="exact_match,lower")
    assert set(score.metrics) == {"exact_match,whole", "exact_match,lower"}
    assert score.main == "exact_match,lower"
    assert score.scored == 6


def test_values_that_are_no_fractions_are_an_error(
    write_task: WriteTask, evaluate_named: Evaluate
) -> None:
    path = write_task()
    (path.parent / "own.py").write_text(
        "def results(doc, results):\n    return {'acc': 1.0, 'acc_norm': 7.0}\n"
    )
    path.write_text(path.read_text() + "process_results: !function own.results\n")
    with pytest.raises(ContractError, match=r"metric 'acc_norm'.* something else for 30 of 30"):
        evaluate_named(path, metric="acc_norm")
    score = evaluate_named(path)
    assert score.metrics == {"acc": 1.0}
    assert "prediction" not in score.items


def test_an_unknown_one_is_named(write_task: WriteTask) -> None:
    with pytest.raises(UsageError, match="no metric 'acc_nrm' that can rank\nDid you mean"):
        LmEval(task=str(write_task()), metric="acc_nrm").fingerprint()

"""What stands in front of a question: examples, turns of a chat, and how much of it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from causal_models import CHAT_TEMPLATE, byte_tokenizer, make_lm
from choice_questions import METRICS, plain_config, random_task
from harness.errors import HarnessWarning, UsageError
from harness.kit.language.causal_lm import CausalLM
from harness.testing.text import toy_context
from harness.types import Score, Split, TaskData
from harness_lm_eval.evaluator import LmEval
from lm_eval_alone import run_alone

Evaluate = Callable[..., Score]


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
            LmEval(num_fewshot=12).check(random_task().sealed(), {}, tunes=False)


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
        lm = make_lm("llama", seed=3, tokenizer=tokenizer, chat=chat)
        lm.model.config.max_position_embeddings = 128
        return lm

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

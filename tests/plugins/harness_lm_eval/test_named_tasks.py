"""lm-eval's own tasks, by name and as YAML: what is scored, and what is refused when."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causal_models import make_lm
from harness.errors import ContractError, UsageError
from harness.registry.components import Component
from harness.registry.contracts import check_score
from harness.testing.instruction import toy_instruction_task
from harness.testing.text import toy_context
from harness.types import Score
from harness_lm_eval import named_tasks
from harness_lm_eval.evaluator import LmEval
from lm_eval_alone import run_alone, samples_of

Evaluate = Callable[..., Score]
WriteTask = Callable[..., Path]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("lm-eval's index was read")

    monkeypatch.setattr(named_tasks, "_all_tasks", refuse)


@pytest.mark.usefixtures("no_network", "no_index")
def test_a_yaml_file_and_its_folder_score_as_lm_eval_does(
    write_task: WriteTask, evaluate_named: Evaluate
) -> None:
    path = write_task()
    lm = make_lm("llama", seed=3)
    alone = run_alone(lm, str(path))
    for text in (path, path.parent):
        score = evaluate_named(text)
        assert score.main == "acc"
        assert {f"{name},none": value for name, value in score.metrics.items()} == {
            key: alone["results"]["colours"][key] for key in ("acc,none", "acc_norm,none")
        }
        each = [sample["acc"] == 1.0 for sample in samples_of(alone, "colours")]
        assert score.items["score"].tolist() == each
        assert score.items["target"].tolist() == [n % 4 for n in range(30)]
        assert score.scored == 30
    assert 0 < score.value < 1


@pytest.mark.usefixtures("no_network", "no_index")
def test_a_score_keeps_its_contract(write_task: WriteTask, evaluate_named: Evaluate) -> None:
    component = Component("evaluator", "lm-eval", LmEval, "", "lm-eval", "", "1")
    for options, scored in (({}, 30), ({"limit": 8}, 8), ({"metric": "acc_norm"}, 30)):
        score = evaluate_named(write_task(), **options)
        check_score(component, score, toy_instruction_task(), "test")
        assert score.scored == scored
        assert score.main == options.get("metric", "acc")


def test_local_files_are_read_anew_when_they_change(
    write_task: WriteTask, evaluate_named: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [{"question": f"Is it {n}?", "choices": ["no", "yes"], "label": 0} for n in range(6)]
    data = tmp_path / "rows.jsonl"
    kwargs = {"data_files": {"test": str(data), "train": str(data)}}
    path = write_task(dataset_path="json", dataset_kwargs=kwargs)
    prints = []
    for label in (0, 1):
        data.write_text("\n".join(json.dumps({**row, "label": label}) for row in rows) + "\n")
        assert evaluate_named(path).items["target"].tolist() == [label] * 6
        prints.append(LmEval(task=str(path)).fingerprint())
    assert prints[0] != prints[1]


def test_documents_that_are_shuffled_are_the_same_in_every_run(
    write_task: WriteTask, tmp_path: Path
) -> None:
    path = write_task()
    (path.parent / "own.py").write_text(
        "import random\n"
        "def shuffled(rows):\n"
        "    return rows.select(random.sample(range(len(rows)), len(rows)))\n"
    )
    path.write_text(path.read_text() + "process_docs: !function own.shuffled\n")
    evaluator = LmEval(task=str(path))
    first, second = (
        evaluator.evaluate(make_lm(), toy_instruction_task(), "test", toy_context(tmp_path, seed))
        for seed in (1, 2)
    )
    assert first.items["target"].tolist() == second.items["target"].tolist()
    assert first.items["target"].tolist() != [n % 4 for n in range(30)]
    assert evaluator.fingerprint() == evaluator.fingerprint()


class TestIdentity:
    def test_covers_version_settings_functions_and_documents(self, write_task: WriteTask) -> None:
        def identity(**changes: Any) -> str:
            return LmEval(task=str(write_task(**changes))).fingerprint()

        usual = identity()
        assert usual.startswith("lm-eval 0.")
        assert identity() == usual
        others = [
            identity(test_rows=31),
            identity(description="Answer. "),
            identity(metadata={"version": 4}),
            identity(target_delimiter=""),
        ]
        assert len({usual, *others}) == 5

    def test_does_not_hang_on_where_the_files_lie(self, write_task: WriteTask) -> None:
        first, second = write_task(), write_task(folder="elsewhere")
        assert LmEval(task=str(first)).fingerprint() == LmEval(task=str(second)).fingerprint()

    def test_of_the_own_questions_is_the_version_alone(self) -> None:
        import lm_eval

        assert LmEval().fingerprint() == f"lm-eval {lm_eval.__version__}"

    def test_changed_helpers_of_a_task_change_it(self, write_task: WriteTask) -> None:
        path = write_task()
        before = LmEval(task=str(path)).fingerprint()
        (path.parent / "more.py").write_text("X = 1")
        assert LmEval(task=str(path)).fingerprint() != before


class TestExamples:
    def test_are_those_of_lm_eval_alone(
        self, write_task: WriteTask, evaluate_named: Evaluate
    ) -> None:
        path, lm = write_task(), make_lm("llama", seed=3)
        lm.model.config.max_position_embeddings = 512
        found = []
        for seed in (1, 2):
            score = evaluate_named(path, num_fewshot=3, fewshot_seed=seed)
            alone = run_alone(lm, str(path), num_fewshot=3, seed=seed)
            assert alone["n-shot"] == {"colours": 3}
            each = [sample["acc"] == 1.0 for sample in samples_of(alone, "colours")]
            assert score.items["score"].tolist() == each
            again = evaluate_named(path, num_fewshot=3, fewshot_seed=seed)
            assert again.items["prediction"].tolist() == score.items["prediction"].tolist()
            found.append([sample["prompt_hash"] for sample in samples_of(alone, "colours")])
        assert found[0] != found[1]

    def test_are_the_tasks_own_when_none_are_asked_for(
        self, write_task: WriteTask, evaluate_named: Evaluate
    ) -> None:
        own = evaluate_named(write_task(num_fewshot=2), metric="acc_norm")
        asked = evaluate_named(write_task(), metric="acc_norm", num_fewshot=2)
        assert own.items["prediction"].tolist() == asked.items["prediction"].tolist()
        none = evaluate_named(write_task(num_fewshot=2), metric="acc_norm", num_fewshot=0)
        plain = evaluate_named(write_task(), metric="acc_norm")
        assert none.items["prediction"].tolist() == plain.items["prediction"].tolist()

    def test_a_yaml_that_forbids_them_is_not_overridden_in_silence(
        self, write_task: WriteTask
    ) -> None:
        with pytest.raises(UsageError, match="fixes num_fewshot at 0"):
            LmEval(task=str(write_task(num_fewshot=0)), num_fewshot=2).fingerprint()

    def test_too_many_are_refused(self, write_task: WriteTask) -> None:
        with pytest.raises(UsageError, match=r"num_fewshot = 13, but .* has 12 examples"):
            LmEval(task=str(write_task()), num_fewshot=13).fingerprint()
        path = write_task(fewshot_split="test")
        with pytest.raises(UsageError, match=r"num_fewshot = 30, but .* has 29 examples"):
            LmEval(task=str(path), num_fewshot=30).fingerprint()

    def test_a_question_that_could_show_its_answer_is_refused(self, write_task: WriteTask) -> None:
        path = write_task(fewshot_split=None)
        with pytest.raises(UsageError, match="could be an example of itself"):
            LmEval(task=str(path), num_fewshot=1).fingerprint()
        LmEval(task=str(path)).fingerprint()

    def test_another_number_than_asked_is_an_error(
        self, write_task: WriteTask, evaluate_named: Evaluate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(named_tasks, "set_examples", lambda name, task, asked, seed: (
            task.set_config("num_fewshot", 1), task.set_fewshot_seed(seed)))  # fmt: skip
        with pytest.raises(ContractError, match="2 examples, as num_fewshot says, got 1 in"):
            evaluate_named(write_task(), num_fewshot=2)


class TestSplits:
    def test_validation_is_the_tasks_own(
        self, write_task: WriteTask, evaluate_named: Evaluate
    ) -> None:
        path = write_task(validation_split="dev")
        assert evaluate_named(path, "validation").items["target"].tolist() == [
            (n + 50) % 4 for n in range(8)
        ]
        assert len(evaluate_named(path, "test").items["target"]) == 30
        LmEval(task=str(path)).check(toy_instruction_task().sealed(), {}, tunes=True)

    @pytest.mark.parametrize("splits", [{}, {"test_split": None, "validation_split": "dev"}])
    def test_what_is_reported_is_never_tuned_on(
        self, splits: dict[str, Any], write_task: WriteTask
    ) -> None:
        evaluator = LmEval(task=str(write_task(**splits)))
        evaluator.check(toy_instruction_task().sealed(), {}, tunes=False)
        with pytest.raises(UsageError, match="no validation split besides the one it reports"):
            evaluator.check(toy_instruction_task().sealed(), {}, tunes=True)

    def test_nor_is_a_class_that_may_ignore_its_settings(self, write_task: WriteTask) -> None:
        path = write_task(validation_split="dev")
        (path.parent / "own.py").write_text(
            "from lm_eval.api.task import ConfigurableTask\n"
            "class Own(ConfigurableTask):\n"
            "    def __init__(self, config):\n"
            "        config.pop('class')\n"
            "        super().__init__(config=config)\n"
            "    def test_docs(self):\n"
            "        return self.dataset['test']\n"
        )
        path.write_text(path.read_text() + "class: !function own.Own\n")
        evaluator = LmEval(task=str(path))
        evaluator.check(toy_instruction_task().sealed(), {}, tunes=False)
        with pytest.raises(UsageError, match="no validation split besides the one it reports"):
            evaluator.check(toy_instruction_task().sealed(), {}, tunes=True)


class TestGroups:
    def group(self, write_task: WriteTask, **aggregate: Any) -> Path:
        tasks = [write_task("first"), write_task("second", test_rows=10)]
        settings = {
            "group": "both",
            "task": ["first", "second"],
            "aggregate_metric_list": [
                {"metric": "acc", "aggregation": "mean", "weight_by_size": True, **aggregate}
            ],
        }
        path = tasks[0].parent / "both.yaml"
        path.write_text(json.dumps(settings))
        return path

    def test_score_all_documents_of_their_tasks(
        self, write_task: WriteTask, evaluate_named: Evaluate
    ) -> None:
        path = self.group(write_task)
        score = evaluate_named(path)
        parts = [evaluate_named(path.parent / f"{name}.yaml") for name in ("first", "second")]
        assert score.items["score"].tolist() == [
            bool(value) for part in parts for value in part.items["score"]
        ]
        assert set(score.metrics) == {"acc"}
        assert score.value == pytest.approx(np.mean(score.items["score"]), abs=1e-12)
        assert score.scored == 40

    def test_without_a_mean_over_documents_are_refused(self, write_task: WriteTask) -> None:
        path = self.group(write_task, weight_by_size=False)
        with pytest.raises(UsageError, match="no metric that is a fraction and a mean over doc"):
            LmEval(task=str(path)).fingerprint()

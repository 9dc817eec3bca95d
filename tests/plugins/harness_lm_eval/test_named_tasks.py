"""lm-eval's own tasks, by name and as YAML: what is scored, and what is refused when."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from causal_models import make_lm
from harness.components import Component
from harness.contracts import check_score
from harness.errors import ContractError, MissingDependencyError, UsageError
from harness.testing import toy_context
from harness.testing_instruct import toy_instruction_task
from harness.types import Score, Split
from harness_lm_eval import named_tasks
from harness_lm_eval.evaluator import LmEval
from lm_eval_alone import run_alone, samples_of

Evaluate = Callable[..., Score]
WriteTask = Callable[..., Path]


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    def run(path: Path | str, split: Split = "test", seed: int = 3, **options: Any) -> Score:
        task, context = toy_instruction_task(), toy_context(tmp_path / "work")
        lm = make_lm("llama", seed=seed)
        lm.model.config.max_position_embeddings = 512
        return LmEval(task=str(path), **options).evaluate(lm, task, split, context)

    return run


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
    write_task: WriteTask, evaluate: Evaluate
) -> None:
    path = write_task()
    lm = make_lm("llama", seed=3)
    alone = run_alone(lm, str(path))
    for text in (path, path.parent):
        score = evaluate(text)
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
def test_a_score_keeps_its_contract(write_task: WriteTask, evaluate: Evaluate) -> None:
    component = Component("evaluator", "lm-eval", LmEval, "", "lm-eval", "", "1")
    for options, scored in (({}, 30), ({"limit": 8}, 8), ({"metric": "acc_norm"}, 30)):
        score = evaluate(write_task(), **options)
        check_score(component, score, toy_instruction_task(), "test")
        assert score.scored == scored
        assert score.main == options.get("metric", "acc")


def test_local_files_are_read_anew_when_they_change(
    write_task: WriteTask, evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        assert evaluate(path).items["target"].tolist() == [label] * 6
        prints.append(LmEval(task=str(path)).fingerprint())
    assert prints[0] != prints[1]


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
    def test_are_those_of_lm_eval_alone(self, write_task: WriteTask, evaluate: Evaluate) -> None:
        path, lm = write_task(), make_lm("llama", seed=3)
        lm.model.config.max_position_embeddings = 512
        found = []
        for seed in (1, 2):
            score = evaluate(path, num_fewshot=3, fewshot_seed=seed)
            alone = run_alone(lm, str(path), num_fewshot=3, seed=seed)
            assert alone["n-shot"] == {"colours": 3}
            each = [sample["acc"] == 1.0 for sample in samples_of(alone, "colours")]
            assert score.items["score"].tolist() == each
            again = evaluate(path, num_fewshot=3, fewshot_seed=seed)
            assert again.items["prediction"].tolist() == score.items["prediction"].tolist()
            found.append([sample["prompt_hash"] for sample in samples_of(alone, "colours")])
        assert found[0] != found[1]

    def test_are_the_tasks_own_when_none_are_asked_for(
        self, write_task: WriteTask, evaluate: Evaluate
    ) -> None:
        own = evaluate(write_task(num_fewshot=2), metric="acc_norm")
        asked = evaluate(write_task(), metric="acc_norm", num_fewshot=2)
        assert own.items["prediction"].tolist() == asked.items["prediction"].tolist()
        none = evaluate(write_task(num_fewshot=2), metric="acc_norm", num_fewshot=0)
        plain = evaluate(write_task(), metric="acc_norm")
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
        self, write_task: WriteTask, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(named_tasks, "set_examples", lambda name, task, asked, seed: (
            task.set_config("num_fewshot", 1), task.set_fewshot_seed(seed)))  # fmt: skip
        with pytest.raises(ContractError, match="2 examples, as num_fewshot says, got 1 in"):
            evaluate(write_task(), num_fewshot=2)


class TestSplits:
    def test_validation_is_the_tasks_own(self, write_task: WriteTask, evaluate: Evaluate) -> None:
        path = write_task(validation_split="dev")
        assert evaluate(path, "validation").items["target"].tolist() == [
            (n + 50) % 4 for n in range(8)
        ]
        assert len(evaluate(path, "test").items["target"]) == 30
        LmEval(task=str(path)).check(toy_instruction_task().sealed(), tunes=True)

    @pytest.mark.parametrize("splits", [{}, {"test_split": None, "validation_split": "dev"}])
    def test_what_is_reported_is_never_tuned_on(
        self, splits: dict[str, Any], write_task: WriteTask
    ) -> None:
        evaluator = LmEval(task=str(write_task(**splits)))
        evaluator.check(toy_instruction_task().sealed(), tunes=False)
        with pytest.raises(UsageError, match="no validation split besides the one it reports"):
            evaluator.check(toy_instruction_task().sealed(), tunes=True)


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
        self, write_task: WriteTask, evaluate: Evaluate
    ) -> None:
        path = self.group(write_task)
        score = evaluate(path)
        parts = [evaluate(path.parent / f"{name}.yaml") for name in ("first", "second")]
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


class TestMetrics:
    def test_a_perplexity_cannot_rank(self, write_task: WriteTask) -> None:
        path = write_task(
            output_type="loglikelihood",
            doc_to_choice=None,
            doc_to_target="{{choices[label]}}",
            metric_list=[{"metric": "perplexity"}],
        )
        with pytest.raises(UsageError, match=r"no metric that is a fraction.* it has perplexity"):
            LmEval(task=str(path)).fingerprint()

    def test_an_accuracy_beside_a_perplexity_can(
        self, write_task: WriteTask, evaluate: Evaluate
    ) -> None:
        path = write_task(
            output_type="loglikelihood",
            doc_to_choice=None,
            doc_to_target="{{choices[label]}}",
            metric_list=[{"metric": "perplexity"}, {"metric": "acc"}],
        )
        score = evaluate(path)
        assert set(score.metrics) == {"acc"}
        assert "prediction" not in score.items

    def test_texts_are_generated_and_matched(
        self, write_task: WriteTask, evaluate: Evaluate
    ) -> None:
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
        score = evaluate(path, metric="exact_match,lower")
        assert set(score.metrics) == {"exact_match,whole", "exact_match,lower"}
        assert score.main == "exact_match,lower"
        assert score.scored == 6

    def test_values_that_are_no_fractions_are_an_error(
        self, write_task: WriteTask, evaluate: Evaluate
    ) -> None:
        path = write_task()
        (path.parent / "own.py").write_text(
            "def results(doc, results):\n    return {'acc': 1.0, 'acc_norm': 7.0}\n"
        )
        path.write_text(path.read_text() + "process_results: !function own.results\n")
        with pytest.raises(ContractError, match=r"metric 'acc_norm'.* something else for 30 of 30"):
            evaluate(path, metric="acc_norm")
        score = evaluate(path)
        assert score.metrics == {"acc": 1.0}
        assert "prediction" not in score.items

    def test_an_unknown_one_is_named(self, write_task: WriteTask) -> None:
        with pytest.raises(UsageError, match="no metric 'acc_nrm' that can rank\nDid you mean"):
            LmEval(task=str(write_task()), metric="acc_nrm").fingerprint()


class TestRefusals:
    def test_nothing_of_a_name_that_does_not_exist(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = ["arc_easy", "arc_challenge", "hellaswag"]
        known = SimpleNamespace(all_tasks=names, task_index=dict.fromkeys(names))
        monkeypatch.setattr(named_tasks, "_all_tasks", lambda: known)
        with pytest.raises(UsageError, match="has no task 'arc_eazy'\nDid you mean arc_easy"):
            LmEval(task="arc_eazy").fingerprint()
        with pytest.raises(UsageError, match="has no task 'xyzzy'\n`lm-eval ls tasks`"):
            LmEval(task="xyzzy").fingerprint()

    def test_nor_of_a_path_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no YAML file or folder"):
            LmEval(task=str(tmp_path / "none.yaml")).fingerprint()

    def test_a_broken_yaml_is_said_to_be_broken(self, write_task: WriteTask) -> None:
        path = write_task()
        path.write_text("task: [colours\n")
        for text in (path, path.parent):
            with pytest.raises(UsageError, match=r"colours.yaml' is no YAML that lm-eval can read"):
                LmEval(task=str(text)).fingerprint()
        path.write_text("dataset_path: json\n")
        with pytest.raises(UsageError, match="describes no lm-eval task"):
            LmEval(task=str(path)).fingerprint()
        with pytest.raises(UsageError, match="holds no YAML file with an lm-eval task"):
            LmEval(task=str(path.parent)).fingerprint()

    def test_a_folder_of_several_tasks_is_not_guessed_at(self, write_task: WriteTask) -> None:
        folder = write_task("one").parent
        write_task("two")
        with pytest.raises(UsageError, match=r"holds 2 lm-eval tasks\nName one of them: .*one.yam"):
            LmEval(task=str(folder)).fingerprint()

    def test_a_mistake_in_a_task_is_told_apart_from_missing_data(
        self, write_task: WriteTask
    ) -> None:
        with pytest.raises(UsageError, match="cannot be loaded: KeyError: 'exam'"):
            LmEval(task=str(write_task(test_split="exam"))).fingerprint()

    def test_data_that_needs_the_network_is_named_before_anything_runs(
        self, write_task: WriteTask
    ) -> None:
        path = write_task(dataset_path="nobody-here/no-such-data")
        with pytest.raises(
            MissingDependencyError, match=r"cannot read its data.*\nRun once with the network"
        ):
            LmEval(task=str(path)).fingerprint()

    def test_code_that_a_model_wrote_is_not_run(self, write_task: WriteTask) -> None:
        with pytest.raises(UsageError, match="runs code that a model wrote"):
            LmEval(task=str(write_task(unsafe_code=True))).fingerprint()

    def test_an_empty_split(self, write_task: WriteTask) -> None:
        with pytest.raises(UsageError, match="cannot be loaded: IndexError"):
            LmEval(task=str(write_task(test_rows=0))).fingerprint()

    @pytest.mark.parametrize("package", ["lm_eval", "accelerate"])
    def test_a_missing_package_is_named_when_planning(
        self, package: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import importlib.util

        found = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == package else found(name)
        )
        with pytest.raises(MissingDependencyError, match=rf"'{package}'.*\npip install 'lm-eval"):
            LmEval().fingerprint()


@pytest.mark.slow
def test_a_built_in_task_is_found_by_name_and_its_data_missed() -> None:
    with pytest.raises(MissingDependencyError, match="lm-eval task 'arc_easy' cannot read"):
        LmEval(task="arc_easy").fingerprint()
    with pytest.raises(UsageError, match="Did you mean"):
        LmEval(task="arc_eazy").fingerprint()

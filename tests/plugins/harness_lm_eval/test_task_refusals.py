"""lm-eval tasks that are not there, broken or unfit are refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import MissingDependencyError, UsageError
from harness_lm_eval import named_tasks
from harness_lm_eval.evaluator import LmEval

WriteTask = Callable[..., Path]


def test_nothing_of_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["arc_easy", "arc_challenge", "hellaswag"]
    known = SimpleNamespace(all_tasks=names, task_index=dict.fromkeys(names))
    monkeypatch.setattr(named_tasks, "_all_tasks", lambda: known)
    with pytest.raises(UsageError, match="has no task 'arc_eazy'\nDid you mean arc_easy"):
        LmEval(task="arc_eazy").fingerprint()
    with pytest.raises(UsageError, match="has no task 'xyzzy'\n`lm-eval ls tasks`"):
        LmEval(task="xyzzy").fingerprint()


def test_nor_of_a_path_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no YAML file or folder"):
        LmEval(task=str(tmp_path / "none.yaml")).fingerprint()


def test_a_broken_yaml_is_said_to_be_broken(write_task: WriteTask) -> None:
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


def test_a_folder_of_several_tasks_is_not_guessed_at(write_task: WriteTask) -> None:
    folder = write_task("one").parent
    write_task("two")
    with pytest.raises(UsageError, match=r"holds 2 lm-eval tasks\nName one of them: .*one.yam"):
        LmEval(task=str(folder)).fingerprint()


def test_a_mistake_in_a_task_is_told_apart_from_missing_data(write_task: WriteTask) -> None:
    with pytest.raises(UsageError, match="cannot be loaded: KeyError: 'exam'"):
        LmEval(task=str(write_task(test_split="exam"))).fingerprint()


def test_data_that_needs_the_network_is_named_before_anything_runs(write_task: WriteTask) -> None:
    path = write_task(dataset_path="nobody-here/no-such-data")
    with pytest.raises(
        MissingDependencyError, match=r"cannot read its data.*\nRun once with the network"
    ):
        LmEval(task=str(path)).fingerprint()


def test_code_that_a_model_wrote_is_not_run(write_task: WriteTask) -> None:
    with pytest.raises(UsageError, match="runs code that a model wrote"):
        LmEval(task=str(write_task(unsafe_code=True))).fingerprint()


def test_an_empty_split(write_task: WriteTask) -> None:
    with pytest.raises(UsageError, match="cannot be loaded: IndexError"):
        LmEval(task=str(write_task(test_rows=0))).fingerprint()


@pytest.mark.parametrize("package", ["lm_eval", "accelerate"])
def test_a_missing_package_is_named_when_planning(
    package: str, monkeypatch: pytest.MonkeyPatch
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

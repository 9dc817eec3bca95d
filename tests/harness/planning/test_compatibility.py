"""Parts that declare that they do not fit one another are refused before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest

from harness.cli import main
from harness.errors import UsageError
from harness.hookspecs import Register, hookimpl
from harness.plan import Plan
from harness.plugins import PluginHost, PluginSource
from harness.protocols import Student
from harness.testing.toys import ToyAccuracy, WordCounts
from harness.types import TaskData


@dataclass(frozen=True)
class CountsThatPredict(WordCounts):
    modalities: ClassVar[tuple[str, ...]] = ("text-classification",)
    offers: ClassVar[tuple[str, ...]] = ("predict", "explain")


@dataclass(frozen=True)
class CountsForInstructions(WordCounts):
    modalities: ClassVar[tuple[str, ...]] = ("instruction", "image-text")


@dataclass(frozen=True)
class Writes(ToyAccuracy):
    needs: ClassVar[tuple[str, ...]] = ("predict", "write")


@dataclass(frozen=True)
class ForInstructions(ToyAccuracy):
    modalities: ClassVar[tuple[str, ...]] = ("instruction",)


@dataclass(frozen=True)
class AsksFirst(ToyAccuracy):
    asked: ClassVar[list[tuple[str, list[str], bool, bool]]] = []

    def check(self, task: TaskData, students: Mapping[str, Student], *, tunes: bool) -> None:
        self.asked.append((task.name, list(students), tunes, "test" in task.splits))
        if tunes:
            raise UsageError("nothing can be chosen on validation")


class Declaring:
    @hookimpl
    def harness_register_students(self, register: Register) -> None:
        register("predicting", CountsThatPredict, summary="")
        register("instructed", CountsForInstructions, summary="")

    @hookimpl
    def harness_register_evaluators(self, register: Register) -> None:
        register("writes", Writes, summary="")
        register("for-instructions", ForInstructions, summary="")
        register("asks-first", AsksFirst, summary="")


@pytest.fixture
def refused(toy_host: PluginHost, planned: Callable[..., Plan]) -> Callable[..., str]:
    """What a plan of the toy task is refused with."""
    toy_host.add(PluginSource("declaring", "", "", Declaring))

    def refuse(student: str, evaluator: str) -> str:
        with pytest.raises(UsageError) as error:
            planned(students=(student,), evaluators=(evaluator,))
        return error.value.message

    return refuse


def test_a_need_that_the_student_does_not_offer(refused: Callable[..., str]) -> None:
    assert refused("predicting", "writes") == (
        "evaluator 'writes' needs a student with 'write', and student 'predicting' has 'predict',"
        " 'explain'"
    )


def test_a_student_for_other_tasks(refused: Callable[..., str]) -> None:
    assert refused("instructed", "toy-accuracy") == (
        "student 'instructed' is for tasks of instruction or image-text, and 'toy' is one of"
        " text-classification"
    )


def test_an_evaluator_for_other_tasks(refused: Callable[..., str]) -> None:
    assert refused("words", "for-instructions").startswith(
        "evaluator 'for-instructions' is for tasks of instruction, and 'toy'"
    )


def test_one_misfit_among_many_is_found(toy_host: PluginHost, planned: Callable[..., Plan]) -> None:
    toy_host.add(PluginSource("declaring", "", "", Declaring))
    with pytest.raises(UsageError, match="'writes' needs a student with 'write'"):
        planned(students=("words", "predicting"), evaluators=("toy-accuracy", "writes"))


def test_a_student_that_declares_nothing_is_planned(
    toy_host: PluginHost, planned: Callable[..., Plan]
) -> None:
    toy_host.add(PluginSource("declaring", "", "", Declaring))
    assert planned(students=("words",), evaluators=("writes",)).cells


def test_an_evaluator_is_asked_once_for_each_task_and_use_and_sees_no_test_split(
    toy_host: PluginHost, planned: Callable[..., Plan]
) -> None:
    toy_host.add(PluginSource("declaring", "", "", Declaring))
    AsksFirst.asked.clear()
    students = ("words", "predicting")
    planned(students=students, evaluators=("toy-accuracy", "asks-first"))
    assert AsksFirst.asked == [("toy", [*students], False, False)]
    AsksFirst.asked.clear()
    planned(
        "recipe.learning_rate=1,2", students=students, evaluators=("toy-accuracy", "asks-first")
    )
    assert AsksFirst.asked == [("toy", [*students], False, False)]


def test_what_an_evaluator_could_not_score_is_refused_before_anything_runs(
    toy_host: PluginHost, planned: Callable[..., Plan]
) -> None:
    toy_host.add(PluginSource("declaring", "", "", Declaring))
    with pytest.raises(UsageError, match="nothing can be chosen on validation"):
        planned("recipe.learning_rate=1,2", evaluators=("asks-first",))


@pytest.mark.parametrize(
    ("student", "evaluator", "said"),
    [
        (
            "llama:tiny",
            "classification",
            "evaluator 'classification' is for tasks of text-classification, and",
        ),
        ("bert:tiny", "lm-eval", "student 'bert:tiny' is for tasks of text-classification, and"),
    ],
)
def test_the_command_line_says_so_and_exits_with_2(
    student: str,
    evaluator: str,
    said: str,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path_factory.mktemp("bench")
    rows = "".join(f'{{"prompt": "What is {n}?", "completion": "it is {n}"}}\n' for n in range(60))
    (folder / "rows.jsonl").write_text(rows)
    with pytest.raises(SystemExit) as end:
        main(
            ["bench", "--distiller", "random", "--student", student, "--evaluator", evaluator,
             "--task", f"instruct-jsonl:{folder / 'rows.jsonl'}", "--budget", "5rows",
             "--output", str(folder / "results"), "--device", "cpu"]
        )  # fmt: skip
    shown = capsys.readouterr()
    assert end.value.code == 2
    assert said in " ".join(shown.err.split())
    assert "Traceback" not in shown.err
    assert not (folder / "results" / "records").exists()

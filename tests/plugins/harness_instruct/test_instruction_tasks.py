"""The tasks with a name, from a data folder made on the spot and from the real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data.sources import DataLocator
from harness.errors import HarnessError, MissingDependencyError, UsageError
from harness.fingerprint import task_fingerprint
from harness.testing.text import check_task_plugin
from harness_instruct.pools import load_pool
from harness_instruct.tasks import ArcChallenge, ArcEasy, Mmlu
from resolved import resolved


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def questions(name: str, count: int, **extra: Any) -> list[dict[str, Any]]:
    return [
        {"question": f"{name} {n}?", "choices": ["one", "two", "three"], "answer": n % 3, **extra}
        for n in range(count)
    ]


@pytest.fixture
def locator(tmp_path: Path) -> DataLocator:
    write(tmp_path / "arc_easy/train.jsonl", questions("train", 24))
    write(tmp_path / "arc_easy/test.jsonl", questions("test", 6))
    subjects = ["abstract_algebra", "anatomy"]
    dev = [row for s in subjects for row in questions(f"dev {s}", 2, subject=s)]
    write(tmp_path / "mmlu/dev.jsonl", dev)
    write(tmp_path / "mmlu/test.jsonl", questions("test", 4, subject="anatomy"))
    pool = [{"template": "t", "prompt": f"Say {n}\n", "completion": f" {n}"} for n in range(9)]
    pool.append({"template": "t", "prompt": "Say nothing", "completion": ""})
    write(tmp_path / "instructions/t0_train_short.jsonl", pool)
    return DataLocator(tmp_path, use_hub=False)


def test_arc_scores_the_texts_of_the_choices(locator: DataLocator) -> None:
    task = check_task_plugin(ArcEasy(), locator)
    assert (len(task.train), len(task.validation), len(task.test)) == (21, 3, 6)
    assert task.train.column_names == ["prompt", "completion"]
    assert task.test[1] == {
        "prompt": "Question: test 1?\nAnswer: ",
        "completion": "two",
        "choices": ["one", "two", "three"],
        "answer": 1,
    }
    assert (task.modality, task.metric, task.label_names) == ("instruction", "acc_norm", ())
    assert task.source.detail == "arc_easy/train.jsonl + arc_easy/test.jsonl"


def test_letters_name_the_choices(locator: DataLocator) -> None:
    task = ArcEasy(letters=True, template="{question}\n{options}\nAnswer: ").load(locator)
    row = task.test[2]
    assert row["prompt"] == "test 2?\nA. one\nB. two\nC. three\nAnswer: "
    assert (row["completion"], row["choices"], row["answer"]) == ("C", ["A", "B", "C"], 2)


def test_a_pool_from_elsewhere_takes_the_place_of_train_alone(locator: DataLocator) -> None:
    own, other = ArcEasy().load(locator), ArcEasy(pool="p3").load(locator)
    assert other.train[3] == {"prompt": "Say 3 ", "completion": "3"}
    assert len(other.train) == 9
    assert other.validation[:] == own.validation[:]
    assert other.test[:] == own.test[:]
    assert other.source.detail.endswith("; pool: folder instructions/t0_train_short.jsonl")
    assert "pool: 1 rows removed that lack a text" in other.notes
    assert task_fingerprint(own) != task_fingerprint(other)


def test_mmlu_has_the_examples_of_each_subject_as_validation(locator: DataLocator) -> None:
    task = check_task_plugin(Mmlu(), locator)
    assert task.validation["subtask"][:] == ["abstract_algebra"] * 2 + ["anatomy"] * 2
    assert task.validation[0]["prompt"] == (
        "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
        "dev abstract_algebra 0?\nA. one\nB. two\nC. three\nAnswer: "
    )
    assert len(task.train) == 9
    with pytest.raises(HarnessError, match="no split 'auxiliary_train'"):
        Mmlu(pool="self").load(locator)


def test_the_template_is_part_of_the_fingerprint(locator: DataLocator) -> None:
    plain = task_fingerprint(ArcEasy().load(locator))
    assert plain != task_fingerprint(ArcEasy(template="{question} ").load(locator))
    assert plain == task_fingerprint(ArcEasy().load(locator))
    with pytest.raises(UsageError, match="asks for 'query'"):
        ArcEasy(template="{query}")


def test_questions_of_the_hub_name_their_answer_by_label(tmp_path: Path) -> None:
    def rows(name: str, labels: list[str], key: str) -> list[dict[str, Any]]:
        return [
            {
                "question": f"{name} {n}?",
                "choices": {"text": ["one", "two"], "label": labels},
                "answerKey": key,
            }
            for n in range(8)
        ]

    write(tmp_path / "arc_challenge/train.jsonl", rows("train", ["A", "B"], "B"))
    write(tmp_path / "arc_challenge/test.jsonl", rows("test", ["1", "2"], "1"))
    task = ArcChallenge().load(DataLocator(tmp_path, use_hub=False))
    assert set(task.train["completion"]) == {"two"}
    assert set(task.test["answer"]) == {0}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"question": " ", "choices": ["a", "b"], "answer": 0}, "row 1 .* has no question"),
        ({"question": "q", "choices": ["a"], "answer": 0}, "no two choices"),
        ({"question": "q", "choices": ["a", " "], "answer": 0}, "a blank one"),
        ({"question": "q", "choices": ["a", "b"], "answer": 2}, "the answer 2, which is none"),
        ({"question": "q", "choices": ["a", "b"], "answer": None}, "the answer None"),
    ],
)
def test_a_damaged_question_is_named(
    locator: DataLocator, tmp_path: Path, row: dict[str, Any], complaint: str
) -> None:
    write(tmp_path / "arc_easy/test.jsonl", [row])
    with pytest.raises(HarnessError, match=complaint):
        ArcEasy().load(locator)


def test_a_limit_keeps_some_of_the_target_and_none_of_it_elsewhere(locator: DataLocator) -> None:
    whole, some = ArcEasy().load(locator), ArcEasy(limit=2).load(locator)
    assert (len(some.validation), len(some.test)) == (2, 2)
    assert some.train[:] == whole.train[:]
    for split in ("validation", "test"):
        asked = whole.split(split)["prompt"][:]  # type: ignore[arg-type]
        kept = some.split(split)["prompt"][:]  # type: ignore[arg-type]
        assert [prompt for prompt in asked if prompt in kept] == kept
    assert "test: 4 rows left out by the limit" in some.notes
    assert ArcEasy(limit=100).load(locator).test[:] == whole.test[:]
    with pytest.raises(UsageError, match="limit = -1"):
        resolved(ArcEasy, limit=-1)


def test_a_pool_can_be_a_file(locator: DataLocator, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    write(path, [{"prompt": "Greet", "completion": "hello"}])
    task = ArcEasy(pool=str(path), pool_template="User: {prompt}\nAssistant: ").load(locator)
    assert task.train[:] == {
        "prompt": ["User: Greet\nAssistant: "], "completion": ["hello"],
    }  # fmt: skip
    assert task.source.detail.endswith("; pool: file mine.jsonl")
    with pytest.raises(UsageError, match="neither a pool nor a file") as caught:
        load_pool("p4", "{prompt} ", locator)
    assert "self" in caught.value.hint


def test_a_pool_that_is_not_here_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="'instructions' is not on this machine"):
        load_pool("p3", "{prompt} ", DataLocator(tmp_path, use_hub=False))


def test_the_real_data(data_dir: Path) -> None:
    locator = DataLocator(data_dir, use_hub=False)
    arc = ArcEasy().load(locator)
    assert {split: len(rows) for split, rows in arc.splits.items()} == {
        "train": 1962, "validation": 281, "test": 2376,
    }  # fmt: skip
    mmlu = Mmlu().load(locator)
    assert len(set(mmlu.test["subtask"])) == 57
    assert len(mmlu.train) == 41626

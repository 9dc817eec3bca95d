"""`harness results` and boards over several folders, from the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.api import BenchResult
from toy_paths import TOY_PLUGIN

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folders(run_toy: Callable[..., BenchResult], tmp_path: Path) -> tuple[str, str]:
    """Two folders with two seeds each, one of which they share."""
    run_toy(seeds=[0, 1], output=tmp_path / "one")
    run_toy(seeds=[1, 2], output=tmp_path / "two")
    return "one", "two"


def tamper(folder: Path, metric: float) -> str:
    """Changes the score of a run; gives the name of its file."""
    path = sorted((folder / "records").glob("*.json"))[0]
    document = json.loads(path.read_text())
    document["metrics"]["accuracy"] = metric
    path.write_text(json.dumps(document))
    return path.name


def test_folders_make_one_board_whatever_their_order(
    command: Command, folders: tuple[str, str]
) -> None:
    one, two = folders
    boards = [command("leaderboard", *order, "-f", "json") for order in ((one, two), (two, one))]
    assert [done.returncode for done in boards] == [0, 0], boards[0].stderr
    assert boards[0].stdout == boards[1].stdout
    table = json.loads(boards[0].stdout)["tables"][0]
    assert {row["n"] for row in table["rows"]} == {3}
    assert "are of runs that another folder has too" in boards[0].stderr


def test_a_contradiction_is_one_error_with_both_files(
    command: Command, folders: tuple[str, str], tmp_path: Path
) -> None:
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    name = tamper(tmp_path / "copy", 0.123)
    done = command("leaderboard", "one", "copy")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"copy/records/{name} and one/records/{name} are records of the same run" in done.stderr


def test_verify_passes_what_is_sound_and_names_what_is_not(
    command: Command, folders: tuple[str, str], tmp_path: Path
) -> None:
    sound = command("results", "verify", *folders, "--plugin", TOY_PLUGIN)
    assert sound.returncode == 0, sound.stdout
    assert "12 records checked" in sound.stdout
    name = tamper(tmp_path / "one", 1.5)
    wrong = command("results", "verify", "one", "--plugin", TOY_PLUGIN, "--json")
    assert wrong.returncode == 1
    found = json.loads(wrong.stdout)["errors"]
    assert {error["where"] for error in found} == {f"one/records/{name}"}
    shown = command("results", "verify", "one", "--plugin", TOY_PLUGIN)
    assert shown.returncode == 1
    assert f"one/records/{name}" in shown.stdout
    assert "not a fraction in [0, 1]" in shown.stdout


def test_gc_lists_first_and_removes_when_told_to(
    command: Command,
    folders: tuple[str, str],
    run_toy: Callable[..., BenchResult],
    tmp_path: Path,
) -> None:
    weights = tmp_path / "one/artifacts/fits/abc"
    weights.mkdir(parents=True)
    (weights / "model").write_bytes(b"x" * 2_000_000)
    listed = command("results", "gc", "one")
    assert listed.returncode == 0, listed.stderr
    assert "artifacts/fits/abc" in listed.stdout
    assert "2.0 MB" in listed.stdout
    assert "nothing was removed" in listed.stdout
    assert weights.exists()
    removed = json.loads(command("results", "gc", "one", "--yes", "--json").stdout)
    assert "one/artifacts/fits/abc" in removed["removed"]
    assert not weights.exists()
    assert "keeps nothing that can go" in command("results", "gc", "one").stdout
    again = run_toy(seeds=[0, 1], output=tmp_path / "one").outcome
    assert (again.computed, again.reused) == (0, 6)


def test_export_gives_a_data_set_and_refuses_a_full_folder(
    command: Command, folders: tuple[str, str], tmp_path: Path
) -> None:
    from datasets import load_dataset

    done = command("results", "export", *folders, "--out", "set")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "9 records in set\n"
    rows = load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))["train"]
    assert len(rows) == 9
    again = command("results", "export", "one", "--out", "set")
    assert again.returncode == 2
    assert "not empty" in again.stderr


@pytest.mark.parametrize(
    "arguments", [["verify", "nowhere"], ["gc", "nowhere"], ["export", "nowhere", "--out", "x"]]
)
def test_a_folder_that_is_not_there_is_a_wrong_request(
    command: Command, arguments: list[str]
) -> None:
    done = command("results", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr

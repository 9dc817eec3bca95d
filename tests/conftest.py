"""Fixtures that every test may use: a host with the toy plugin, and a way to run the toy suite."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import harness
from harness.api import BenchResult, bench
from harness.plugins import PluginHost
from toy_paths import TOY_PLUGIN, TOY_SUITE

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests run beside one another: one thread each, and none that spins while it waits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# Timings never decide a test: a busy machine is slow, not wrong.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HARNESS_PLUGINS", "HARNESS_DISABLE_PLUGINS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Whatever the environment or the test before says: sums in one order, and cores for others."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@pytest.fixture
def data_dir() -> Path:
    """The folder with SST-2 and the others, where this machine has it."""
    given = os.environ.get("HARNESS_DATA")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared/data"
    if not folder.is_dir():
        pytest.skip("no data folder: set HARNESS_DATA to one with sst2/train.jsonl.gz")
    return folder


@pytest.fixture
def toy_host() -> PluginHost:
    return PluginHost.discover([TOY_PLUGIN])


@pytest.fixture
def run_toy(tmp_path: Path) -> Callable[..., BenchResult]:
    """Runs the toy suite into `tmp_path/results`; keyword arguments go to `harness.bench`."""

    def run(**request: Any) -> BenchResult:
        given = {"output": tmp_path / "results", "plugins": [TOY_PLUGIN], "device": "cpu"}
        return bench(request.pop("suite", TOY_SUITE), **{**given, **request})

    return run


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `harness ...` in a process of its own, in an empty folder."""

    def run(
        *arguments: str, timeout: int = 240, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": _import_path(), **environment},
            timeout=timeout,
            check=False,
        )

    return run


def _import_path() -> str:
    root = Path(harness.__file__).parents[1]
    paths = [str(root / part) for part in (".", "plugins", "benchmarks")]
    return os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])

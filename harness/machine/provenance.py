"""Where a run happened: versions, commit, hardware. Recorded, never part of a key."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from harness.records.record import Provenance
from harness.version import __version__

PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "numpy", "scikit-learn", "pluggy")

_FOLDERS = re.compile(r"(^|[=:,])/(?!/)(?:[^/=:,]+/)*(?=[^/=:,])")
"""The root and the folders of a path that stands alone or behind `KEY=`, `jsonl:` or a comma."""


def provenance(device: str) -> Provenance:
    """Describes this process, machine and moment."""
    import torch

    commit, dirty = _commit()
    return Provenance(
        harness=__version__,
        packages=_versions(),
        python=platform.python_version(),
        platform=platform.platform(terse=True),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        device=_device_name(device),
        commit=commit,
        dirty=dirty,
        command=shown_command(sys.argv),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def shown_command(arguments: Sequence[str]) -> str:
    """A command line as others may read it: of a path from the root, its last part alone."""
    program, *options = arguments
    return shlex.join([Path(program).name, *(_FOLDERS.sub(r"\1", option) for option in options)])


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def _commit() -> tuple[str, bool]:
    """The commit of the checkout this package runs from, and whether its code was changed."""
    top = Path(__file__).resolve().parents[2]
    if not (top / ".git").exists():
        return "", False
    head = _git(top, "rev-parse", "--short=12", "HEAD")
    code = ("harness", "plugins", "benchmarks", "pyproject.toml")
    changed = _git(top, "status", "--porcelain", "--untracked-files=no", "--", *code)
    return head, bool(changed)


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@cache
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"

"""The leaderboard stays light: torch and SciPy's statistics are not needed to show one."""

from __future__ import annotations

import subprocess
import sys


def test_importing_every_format_imports_no_torch_and_no_scipy() -> None:
    code = (
        "import sys, harness.records.results, harness.leaderboard.formats.terminal,"
        " harness.leaderboard.formats.markdown, harness.leaderboard.formats.delimited,"
        " harness.leaderboard.formats.json_format;"
        "print([m for m in ('torch', 'scipy', 'datasets', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"

"""How long the commands take that only look: median of several fresh processes.

python benchmarks/speed/startup.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = (["--help"], ["ls"], ["plugins"], ["bench", "--help"])


def seconds(command: list[str], repeats: int) -> list[float]:
    """Wall seconds of `python -m harness COMMAND`, process start included."""
    measured = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "harness", *command], check=True, stdout=subprocess.DEVNULL
        )
        measured.append(time.perf_counter() - started)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    for command in COMMANDS:
        times = seconds(command, arguments.repeats)
        name = f"harness {' '.join(command)}"
        print(f"{name:24s} median {statistics.median(times):.3f} s, worst {max(times):.3f} s")


if __name__ == "__main__":
    main()

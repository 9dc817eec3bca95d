"""Prints what must not change unnoticed: the keys of every suite's plan, the tasks' fingerprints.

`python tests/stage_keys.py [SUITE ...]`, before and after a change; a suite whose data or weights
are not here is named on stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from harness.api import plan
from harness.errors import HarnessError
from harness.planning.request import Request
from harness.plugins import PluginHost


def stage_keys(request: Request) -> Iterator[str]:
    """A line for each task with its fingerprints, then one for each cell with its keys."""
    planned, _ = plan(request)
    tasks = {cell.task.data.name: cell.task for cell in planned.cells}
    for name, task in tasks.items():
        yield f"{name}: rows {task.fingerprint}, test {task.test_fingerprint}"
    for cell in planned.cells:
        yield (
            f"{cell}, {cell.evaluator.label}: {cell.distill_key} {cell.fit_key} {cell.key}"
            f" {cell.protocol}"
        )


def main() -> None:
    for suite in sys.argv[1:] or sorted(PluginHost.discover().registry.suites):
        try:
            for line in stage_keys(Request(suite)):
                print(f"{suite}: {line}")
        except HarnessError as error:
            print(f"{suite}: {error.message}", file=sys.stderr)


if __name__ == "__main__":
    main()

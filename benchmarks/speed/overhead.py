"""What the host adds to the work of its plugins: wall time of a run less the time inside them.

python benchmarks/speed/overhead.py --task rotten-tomatoes --student bert:minilm
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.data.sources import DataLocator
from harness.plan import Plan
from harness.planning.building import build_plan
from harness.planning.request import Request
from harness.plugins import PluginHost
from harness.running.backlog import RunOptions
from harness.running.runner import Runner
from harness.storage.store import Store


class Stopwatch:
    """Adds up the time spent inside the methods it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, owner: type, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return original(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - started

        setattr(owner, name, timed)


def make_plan(arguments: argparse.Namespace) -> Plan:
    host = PluginHost.discover()
    request = Request(
        "quickstart", tasks=[arguments.task], distillers=["random"],
        students=[arguments.student], budgets=["20/class"], seeds=[0, 1, 2],
        settings=["recipe.steps=100", "recipe.learning_rate=1e-4"],
    )  # fmt: skip
    suite = replace(request.chosen_suite(host), references=("random",))
    return build_plan(suite, host, DataLocator.from_environment(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="rotten-tomatoes")
    parser.add_argument("--student", default="bert:minilm")
    arguments = parser.parse_args()
    plan = make_plan(arguments)
    watch = Stopwatch()
    cell = plan.cells[0]
    watch.wrap(type(cell.distiller.instance), "distill")
    watch.wrap(type(cell.student.instance), "fit")
    watch.wrap(type(cell.evaluator.instance), "evaluate")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        outcome = Runner(plan, Store(Path(folder)), RunOptions()).run()
        wall = time.perf_counter() - started
    cells = len(plan.cells)
    own = wall - watch.seconds
    print(f"{cells} cells ({outcome.computed} computed) of {arguments.student} on {arguments.task}")
    print(f"wall per cell          {wall / cells:8.3f} s")
    print(f"inside the plugins     {watch.seconds / cells:8.3f} s")
    print(f"the host's own share   {own / cells:8.3f} s = {100 * own / wall:.2f} %")


if __name__ == "__main__":
    main()

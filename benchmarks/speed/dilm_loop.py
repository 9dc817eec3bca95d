"""Times DiLM's matching steps with the learner's updates between them, where most time is spent.

Between two steps the learner makes 20 updates of all its weights on batches of 64 real rows, as
published. `published` and `torch.func` train it on padded batches, and match as those engines of
`dilm_step.py` do; `closed form` is the plugin's own code for both. With `kept trajectories` the
learner's states and the gradients on real rows are known from an earlier loop, which is what
`learner_trajectories` buys from the second time round. All draw the same batches, and the
generator's gradients at the last step are compared. Memory is the peak above what was in use
before, each engine in a process of its own.

    python benchmarks/speed/dilm_loop.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from dilm_engines import Bench, Clock, flat_gradient
from dilm_step import WORDS, add_sizes, difference, make_bench, random_rows, review_lengths
from peak_memory import peak_memory, start_memory
from torch import Tensor

from harness.kit.files.resume_point import ResumePoint
from harness.types import Recipe
from harness_dilm.matching.learner import RowTable
from harness_dilm.matching.learner_states import LearnerStates
from harness_dilm.optimiser import Optimiser

OURS, KEPT = "closed form", "closed form, kept trajectories"
ENGINES = ("published", "torch.func", OURS, KEPT)


@dataclass(frozen=True)
class Run:
    """What one engine did: seconds of each step, and the generator's last gradient."""

    seconds: list[float]
    gradient: Tensor


@dataclass(frozen=True)
class Loop:
    """One way of the learner, with a matching step after each of `steps` rounds of updates."""

    bench: Bench
    table: RowTable
    labels: np.ndarray
    steps: int
    folder: Path

    def run(self, engine: str) -> Run:
        bench = self.bench
        clock = Clock(bench.generator.device)
        advance, match = self._parts(engine, clock)
        recipe = Recipe(steps=1 << 30, learning_rate=0.0, warmup=0.0, weight_decay=0.0)
        optimiser = Optimiser(bench.generator.model, recipe, "the generator")
        seconds = []
        for round_ in range(1, self.steps + 1):
            started = time.perf_counter()
            advance(round_)
            match(round_)
            gradient = flat_gradient(bench)
            optimiser.step()
            if bench.generator.device.type != "cpu":
                torch.accelerator.synchronize()
            seconds.append(time.perf_counter() - started)
        return Run(seconds, gradient)

    def _parts(
        self, engine: str, clock: Clock
    ) -> tuple[Callable[[int], object], Callable[[int], object]]:
        """What brings the learner to a round, and what matches there."""
        bench, learner = self.bench, self.bench.learner
        if engine == KEPT:
            resume_point = ResumePoint(self.folder / "states.safetensors", {})
            states = LearnerStates(learner, self.table, self.labels, resume_point)
            targets = {}
            for round_ in range(1, self.steps + 1):
                states.visit(0, round_)
                targets[round_] = bench.real_gradients()
            return (
                lambda round_: states.visit(0, round_),
                lambda round_: bench.closed_form(clock, targets[round_]),
            )
        learner.reset(0)
        if engine == OURS:
            states = LearnerStates(learner, self.table, self.labels, None)
            return (
                lambda round_: states.visit(0, round_),
                lambda _: bench.closed_form(clock),
            )
        update = self._padded_updates()
        if engine == "torch.func":
            return update, lambda _: bench.torch_func(clock, "head")
        return update, lambda _: bench.double_backward(clock, whole=True)

    def _padded_updates(self) -> Callable[[int], None]:
        """A round of the learner's updates the obvious way."""
        learner, classifier = self.bench.learner, self.bench.learner.classifier
        optimiser = Optimiser(classifier.model, learner.recipe, "the learner")
        targets = torch.from_numpy(self.labels).to(classifier.device)

        def advance(round_: int) -> None:
            for batch in learner.batches(len(self.labels), 0, round_):
                inputs = self.table.rows.pad(batch, classifier.pad_id, classifier.device)
                logits = classifier.model(**inputs).logits
                F.cross_entropy(logits, targets[torch.from_numpy(batch)]).backward()
                optimiser.step()

        return advance


def make_loop(arguments: argparse.Namespace, folder: Path) -> Loop:
    rng = np.random.default_rng(1)
    lengths = review_lengths(arguments.rows, rng)
    return Loop(
        bench=make_bench(arguments),
        table=RowTable(random_rows(lengths, 101, 102, WORDS, rng)),
        labels=rng.integers(0, arguments.classes, arguments.rows),
        steps=arguments.steps,
        folder=folder,
    )


def extra_memory(engine: str, arguments: argparse.Namespace) -> int:
    """Bytes of a loop's peak above what was in use; runs in a process of its own."""
    torch.set_num_threads(arguments.threads)
    short = argparse.Namespace(**{**vars(arguments), "steps": 1, "learner_updates": 2})
    with tempfile.TemporaryDirectory() as folder:
        loop = make_loop(short, Path(folder))
        before = start_memory(arguments.device)
        loop.run(engine)
        return peak_memory(arguments.device) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_sizes(parser)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2000, help="real rows that the learner sees")
    arguments = parser.parse_args()
    # Before any thread of this process: a forked child has none of them.
    with multiprocessing.get_context("fork").SamplePool(1, maxtasksperchild=1) as pool:
        memory = {engine: pool.apply(extra_memory, (engine, arguments)) for engine in ENGINES}
    torch.set_num_threads(arguments.threads)
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        loop = make_loop(arguments, Path(folder))
        for engine in ENGINES:
            runs[engine] = loop.run(engine)
            print(f"{engine} done", file=sys.stderr)
    step = {engine: statistics.median(run.seconds) for engine, run in runs.items()}
    print("| engine | s/step | steps/s | ratio | extra MB | gradient's distance from ours |")
    print("| --- | --: | --: | --: | --: | --: |")
    for engine, run in runs.items():
        apart = difference(run.gradient, runs[OURS].gradient)
        print(
            f"| {engine} | {step[engine]:.2f} | {1 / step[engine]:.3f}"
            f" | {step['published'] / step[engine]:.1f} | {memory[engine] / 1e6:,.0f}"
            f" | {apart:.1e} |"
        )


if __name__ == "__main__":
    main()

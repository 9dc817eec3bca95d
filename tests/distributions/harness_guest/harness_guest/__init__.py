"""A third party's plugin: a distiller, a student, an evaluator, a task and an executor."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from harness import DistilledData, hookimpl
from harness.executors import Job, Outcome, Plan
from harness.testing.toys import ToyAccuracy, ToyTask, WordCounts

HARNESS_API = 1


@dataclass(frozen=True)
class Longest:
    """The longest texts of each class."""

    def distill(self, task: Any, budget: Any, context: Any) -> DistilledData:
        texts, labels = task.train[task.input_columns[0]], task.train["label"]
        by_length = sorted(range(len(texts)), key=lambda n: -len(texts[n]))
        shares = budget.per_class(task.class_counts())
        picked = [
            n
            for label, share in enumerate(shares)
            for n in [n for n in by_length if labels[n] == label][:share]
        ]
        return DistilledData.select(task, picked)


WORKER = """
import pickle, sys
from harness.executors import work_on
work_on(pickle.load(sys.stdin.buffer), print)
"""


@dataclass(frozen=True)
class Pipes:
    """Workers that are given the job on their standard input."""

    def run(self, plan: Plan, job: Job, progress: Any, report: Any) -> Outcome:
        backlog = job.backlog(plan)
        command = [sys.executable, "-c", WORKER]
        workers = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(job.jobs)]
        for worker in workers:
            assert worker.stdin is not None
            with worker.stdin as pipe:
                pickle.dump(job, pipe)
        for worker in workers:
            worker.wait()
        return backlog.outcome()


@hookimpl
def harness_register_distillers(register: Any) -> None:
    register("longest", Longest, summary="longest texts", produces="selection", deterministic=True)


@hookimpl
def harness_register_students(register: Any) -> None:
    register("word-counts", WordCounts, summary="naive Bayes")


@hookimpl
def harness_register_evaluators(register: Any) -> None:
    register("plain-accuracy", ToyAccuracy, summary="share of correct rows")


@hookimpl
def harness_register_tasks(register: Any) -> None:
    register("adjectives", ToyTask, summary="two classes of adjectives")


@hookimpl
def harness_register_executors(register: Any) -> None:
    register("pipes", Pipes, summary="workers that are told what to do through a pipe")

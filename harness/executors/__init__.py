"""Executors: ways to carry out a plan, and all that one of a plugin's own may import.

An executor is a class with `run(plan, job, progress, report) -> Outcome`, registered by the hook
`harness_register_executors`; its options are the fields of its dataclass. It starts workers
wherever it likes and has each call `work_on(job, report)`; a `Job` can be pickled. Workers share
the results folder: each takes the stages that no other holds, so nothing is handed out, and one
that dies costs the stage it was in. `job.backlog(plan)` says what is due, what has ended and, once
all workers have stopped, what became of it. `run_here` is the work of one process.

The host's own executors, `in_process` and `processes`, import nothing of the machinery but this.
"""

from harness.context import Progress
from harness.plan import Cell, Plan, StageEvent
from harness.records.failure import Failure
from harness.running.backlog import Backlog, Outcome, RunOptions
from harness.running.job import Executor, Job, run_here, work_on

__all__ = [
    "Backlog",
    "Cell",
    "Executor",
    "Failure",
    "Job",
    "Outcome",
    "Plan",
    "Progress",
    "RunOptions",
    "StageEvent",
    "run_here",
    "work_on",
]

"""lm-eval as an evaluator of the model in memory: our tasks, and lm-eval's own."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import Register

HARNESS_API = 1


@hookimpl
def harness_register_evaluators(register: Register) -> None:
    register(
        "lm-eval",
        "harness_lm_eval.evaluator:LmEval",
        summary="lm-eval: the task's own questions, or lm-eval:NAME and lm-eval:YAML_PATH",
        version="1",
        argument="task",
    )

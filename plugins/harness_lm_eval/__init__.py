"""lm-eval as an evaluator: the harness's own tasks and lm-eval's, on the model in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import hookimpl
from harness.hookspecs import Register

if TYPE_CHECKING:
    from harness.plan import Plan

HARNESS_API = 1

_NAME = "lm-eval"


@hookimpl
def harness_register_evaluators(register: Register) -> None:
    register(
        _NAME,
        "harness_lm_eval.evaluator:LmEval",
        summary="lm-eval: the task's own questions, or lm-eval:NAME and lm-eval:YAML_PATH",
        version="1",
        argument="task",
    )


@hookimpl
def harness_plan(plan: Plan) -> None:
    if any(_NAME in (c.evaluator.component.name, c.tuner.component.name) for c in plan.cells):
        from harness_lm_eval.plan_checks import check_plan

        check_plan(plan, _NAME)

"""Students that give their untrained language model away, as a proxy for other methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.context import StageContext
from harness.errors import UsageError
from harness.protocols import BuildsModel
from harness.types import TaskData

if TYPE_CHECKING:
    from harness.kit.language.causal_lm import CausalLM


def build_proxy_lm(spec: str, task: TaskData, context: StageContext) -> CausalLM:
    """The untrained language model of the student `spec`.

    Raises:
        UsageError: no student is named, or it is no causal language model.
    """
    hint = "Set proxy to a student like smollm2:135m-gguf."
    if not spec:
        raise UsageError("no proxy to look at the rows with", hint=hint)
    lm = untrained_lm(spec, task, context)
    if lm is None:
        raise UsageError(
            f"student '{spec}' builds no causal language model, so it cannot be the proxy",
            hint=hint,
        )
    return lm


def untrained_lm(spec: str, task: TaskData, context: StageContext) -> CausalLM | None:
    """The language model of the student `spec` before any training; None where it builds none."""
    from harness.kit.language.causal_lm import CausalLM

    student = context.student(spec)
    built = student.build(task, context) if isinstance(student, BuildsModel) else None
    return built if isinstance(built, CausalLM) else None


def proxy_lm_inputs(spec: str, context: StageContext) -> dict[str, Any]:
    """What an untrained proxy depends on besides the task and the seed, to name a cached result by.

    Raises:
        UsageError: no student is named.
    """
    if not spec:
        raise UsageError("no proxy to look at the rows with")
    return {"proxy": spec, **context.student_inputs(spec)}

"""The student model of experts and inner loops, with the parameters that are matched."""

from __future__ import annotations

from dataclasses import replace

from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.embedding import proxy_student
from harness.kit.language.lora import LoraOptions, add_lora
from harness.kit.language.student import build_proxy_lm
from harness.kit.training.parameter_layout import ParameterLayout
from harness.kit.trajectories.proxies import (
    ClassifierProxy,
    LanguageProxy,
    Proxy,
    matched_parameters,
)
from harness.randomness import derive_seed
from harness.types import TaskData
from harness_trajectory.options import TrajectoryOptions

_SEED = derive_seed("trajectory proxy")
"""Of everything random in the proxy: all seeds and budgets look through the same one."""


def build_proxy(options: TrajectoryOptions, task: TaskData, context: StageContext) -> Proxy:
    """The proxy with what is matched in it trainable; the same for all seeds and budgets.

    Raises:
        UsageError: no proxy is named or it is none for the task; nothing to train has such a name.
    """
    fixed = replace(context, seed=_SEED)
    if task.modality == "instruction":
        lm = build_proxy_lm(options.proxy, task, fixed)
        if lm.chat:
            raise UsageError(
                "trajectory learns plain prompts, and the proxy has a chat template on",
                hint="Choose a proxy with chat off.",
            )
        pattern = options.parameters or "lora"
        if pattern == "lora":
            lora = LoraOptions(options.lora_rank, options.lora_alpha, 0.0, options.lora_targets)
            lm.model = add_lora(lm.model, lora, _SEED).eval()
            layout = ParameterLayout.of(lm.model)
        else:
            layout = matched_parameters(lm.model, pattern)
        return LanguageProxy(lm, layout, task, options.max_length, context)
    if options.parameters == "lora":
        raise UsageError(
            "trajectory: parameters = 'lora' is for language models",
            hint="Name a classifier's parameters, such as '*.layer.5.*,classifier.*'.",
        )
    student = proxy_student(options.proxy, fixed)
    classifier = student.build(task, fixed, max_length=options.max_length)
    layout = matched_parameters(classifier.model, options.parameters or "*")
    return ClassifierProxy(classifier, layout, task, context)

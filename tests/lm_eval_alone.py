"""lm-eval called without the harness, for tests that compare the two."""

from __future__ import annotations

import copy
from typing import Any

from harness.kit.language.causal_lm import CausalLM


def run_alone(
    lm: CausalLM,
    spec: Any,
    *,
    batch_size: int = 32,
    max_length: int | None = None,
    num_fewshot: int = 0,
    seed: int = 1234,
    limit: int | None = None,
    **options: Any,
) -> Any:
    """What `lm_eval.evaluate` returns for one task on a model in memory."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model = HFLM(
        pretrained=lm.model,
        tokenizer=copy.deepcopy(lm.tokenizer),
        batch_size=batch_size,
        max_length=max_length,
    )
    loaded = TaskManager(include_defaults=False).load([spec])
    for task in loaded["tasks"].values():
        task.set_config("num_fewshot", num_fewshot)
        task.set_fewshot_seed(seed)
    return evaluate(
        lm=model, task_dict=loaded, limit=limit, bootstrap_iters=0, log_samples=True, **options
    )


def samples_of(results: Any, name: str) -> list[dict[str, Any]]:
    """Its documents in their order."""
    return sorted(results["samples"][name], key=lambda sample: sample["doc_id"])

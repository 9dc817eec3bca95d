"""A split of a harness task as an lm-eval task in memory: no file, no index, no cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import ContractError, UsageError
from harness.types import Split, TaskData

if TYPE_CHECKING:
    from datasets import Dataset

METRICS = ("acc", "acc_norm", "acc_bytes")
_SCORED, _EXAMPLES = "scored", "examples"


def check_own_task(task: TaskData, num_fewshot: int) -> None:
    """Whether a task's questions can be asked, with so many examples in front.

    Raises:
        ContractError: no choices, or a metric that lm-eval does not have for them.
        UsageError: fewer examples in validation than asked for.
    """
    if "choices" not in task.scoring_columns:
        raise _unfit(task, "scoring_columns", "choices and answer", str(task.scoring_columns))
    # One more, because a question of validation is never an example of itself.
    if num_fewshot and num_fewshot + 1 > len(task.validation):
        raise _too_few(task, num_fewshot, len(task.validation) - 1)


def own_metric(task: TaskData, metric: str) -> str:
    """The metric that ranks: the one asked for, else the task's.

    Raises ContractError when lm-eval does not measure it on questions with choices."""
    chosen = metric or task.metric
    if chosen not in METRICS:
        raise _unfit(task, "metric", f"one of {', '.join(METRICS)}", f"'{chosen}'")
    return chosen


def own_task_config(
    task: TaskData, split: Split, num_fewshot: int, *, chat: bool
) -> dict[str, Any]:
    """A configuration that `TaskManager.load` takes.

    Prompt and choice are the task's own texts with nothing between them, so the pairs that
    lm-eval scores are those that `LanguageModel.loglikelihood` is asked for. Examples come from
    validation; none of them asks what is scored.

    chat: prompts go into turns of a chat, without the blank or line break at their end.
    """
    check_own_task(task, num_fewshot)
    scored = task.split(split)
    splits = {_SCORED: scored}
    config: dict[str, Any] = {
        "task": task.name,
        "custom_dataset": lambda **_: splits,
        "output_type": "multiple_choice",
        "test_split": _SCORED,
        "doc_to_text": _stripped_prompt if chat else "prompt",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in METRICS
        ],
        "metadata": {"version": task.version},
    }
    if num_fewshot:
        # lm-eval leaves a document out of its own examples only where the two splits are one.
        config["fewshot_split"] = _SCORED if split == "validation" else _EXAMPLES
        if split != "validation":
            splits[_EXAMPLES] = _others(task.validation, scored)
            if len(splits[_EXAMPLES]) < num_fewshot:
                raise _too_few(task, num_fewshot, len(splits[_EXAMPLES]))
    return config


def _stripped_prompt(document: dict[str, Any]) -> str:
    return str(document["prompt"]).strip()


def _others(rows: Dataset, scored: Dataset) -> Dataset:
    """The rows whose prompt is not among those scored."""
    asked = set(scored["prompt"][:])
    return rows.select([n for n, prompt in enumerate(rows["prompt"][:]) if prompt not in asked])


def _too_few(task: TaskData, asked: int, there: int) -> UsageError:
    return UsageError(
        f"num_fewshot = {asked}, but validation of '{task.name}' has {max(0, there)} examples to"
        " give"
    )


def _unfit(task: TaskData, field: str, expected: str, got: str) -> ContractError:
    return ContractError(plugin=f"task '{task.name}'", field=field, expected=expected, got=got)

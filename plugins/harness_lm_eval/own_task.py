"""A task's split as an lm-eval task in memory."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.kit.evaluation import unfit_task
from harness.types import (
    ANSWER_COLUMN,
    CHOICES_COLUMN,
    PROMPT_COLUMN,
    SUBTASK_COLUMN,
    Split,
    TaskData,
)

if TYPE_CHECKING:
    from datasets import Dataset

    from harness_lm_eval.named_tasks import TaskDict

METRICS = ("acc", "acc_norm", "acc_bytes")
_SCORED, _EXAMPLES = "scored", "examples"


def has_subtasks(task: TaskData) -> bool:
    """Whether each question has a subtask, and gets its examples from there."""
    return SUBTASK_COLUMN in task.scoring_columns


def check_own_task(task: TaskData, num_fewshot: int, *, tunes: bool) -> None:
    """Whether a task's questions can be asked, with so many examples in front.

    tunes: whether those of validation are asked, too.

    Raises:
        ContractError: no choices, or a metric that lm-eval does not have for them.
        UsageError: fewer examples in validation than asked for.
    """
    if CHOICES_COLUMN not in task.scoring_columns:
        raise unfit_task(task, "scoring_columns", "choices and answer", str(task.scoring_columns))
    if not num_fewshot:
        return
    if not has_subtasks(task):
        # One more, because a question of validation is never an example of itself.
        if num_fewshot + 1 > len(task.validation):
            raise _too_few(task, num_fewshot, len(task.validation) - 1)
        return
    for subtask, rows in Counter(task.validation[SUBTASK_COLUMN][:]).items():
        if num_fewshot > rows - tunes:
            raise _too_few(task, num_fewshot, rows - tunes, f"subtask '{subtask}' of ")


def own_metric(task: TaskData, metric: str) -> str:
    """The metric that ranks: the one asked for, else the task's.

    Raises ContractError when lm-eval does not measure it on questions with choices."""
    chosen = metric or task.metric
    if chosen not in METRICS:
        raise unfit_task(task, "metric", f"one of {', '.join(METRICS)}", f"'{chosen}'")
    return chosen


def load_own_task(
    task: TaskData, split: Split, num_fewshot: int, fewshot_seed: int, *, chat: bool
) -> TaskDict:
    """A split's questions as lm-eval scores them, with examples in front of each.

    Prompt and choice are the task's own texts with nothing between them, so the pairs that
    lm-eval scores are those that `LanguageModel.loglikelihood` is asked for. Examples come from
    validation, and from a question's own subtask where there are any; none asks what is scored.

    chat: prompts go into turns of a chat, without the blank or line break at their end.

    Raises:
        ContractError: no choices, or a metric that lm-eval does not have for them.
        UsageError: too few examples.
    """
    from lm_eval.tasks import TaskManager

    check_own_task(task, num_fewshot, tunes=split == "validation")
    scored, examples = task.split(split), task.validation
    settings: dict[str, Any] = {"doc_to_text": _stripped_prompt} if chat else {}
    splits = {_SCORED: scored}
    by_subtask = bool(num_fewshot) and has_subtasks(task)
    if by_subtask:
        from harness_lm_eval.subtask_examples import OWN, SHARED, require_examples, with_start_apart

        require_examples(task.name, examples, scored, num_fewshot)
        if not chat:
            examples, splits[_SCORED] = with_start_apart(examples, scored)
            settings = {"description": SHARED, "doc_to_text": OWN}
        # lm-eval tells which question is asked only where the two splits are one.
        settings["fewshot_split"] = _SCORED
    elif num_fewshot and split == "validation":
        # lm-eval leaves a question out of its own examples only where the two splits are one.
        settings["fewshot_split"] = _SCORED
    elif num_fewshot:
        settings["fewshot_split"] = _EXAMPLES
        splits[_EXAMPLES] = _others(examples, scored)
        if len(splits[_EXAMPLES]) < num_fewshot:
            raise _too_few(task, num_fewshot, len(splits[_EXAMPLES]))
    loaded: TaskDict = TaskManager(include_defaults=False).load([_config(task, splits, settings)])
    for own in loaded["tasks"].values():
        own.set_config("num_fewshot", num_fewshot)
        own.set_fewshot_seed(fewshot_seed)
        if by_subtask:
            from harness_lm_eval.subtask_examples import SubtaskExamples

            own.sampler = SubtaskExamples(examples)
    return loaded


def _config(task: TaskData, splits: dict[str, Dataset], settings: dict[str, Any]) -> dict[str, Any]:
    """A configuration that `TaskManager.load` takes."""
    return {
        "task": task.name,
        "custom_dataset": lambda **_: splits,
        "output_type": "multiple_choice",
        "test_split": _SCORED,
        "doc_to_text": PROMPT_COLUMN,
        "doc_to_choice": CHOICES_COLUMN,
        "doc_to_target": ANSWER_COLUMN,
        "target_delimiter": "",
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in METRICS
        ],
        "metadata": {"version": task.version},
        **settings,
    }


def _stripped_prompt(document: dict[str, Any]) -> str:
    return str(document[PROMPT_COLUMN]).strip()


def _others(rows: Dataset, scored: Dataset) -> Dataset:
    """The rows whose prompt is not among those scored."""
    asked = set(scored[PROMPT_COLUMN][:])
    return rows.select(
        [n for n, prompt in enumerate(rows[PROMPT_COLUMN][:]) if prompt not in asked]
    )


def _too_few(task: TaskData, asked: int, there: int, part: str = "") -> UsageError:
    return UsageError(
        f"num_fewshot = {asked}, but {part}validation of '{task.name}' has {max(0, there)}"
        " examples to give"
    )

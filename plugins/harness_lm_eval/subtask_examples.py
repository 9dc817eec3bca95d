"""Few-shot examples from a question's own subtask, as in lm-eval's MMLU."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from lm_eval.api.samplers import ContextSampler

from harness.errors import UsageError
from harness.types import PROMPT_COLUMN, SUBTASK_COLUMN

if TYPE_CHECKING:
    from datasets import Dataset

_BLANK_LINE = "\n\n"
SHARED, OWN = "shared_start", "own_prompt"
"""Columns of `with_start_apart`."""


class SubtaskExamples(ContextSampler):
    """The first examples of the subtask of the question asked, in their order.

    lm-eval hands the question over where examples and questions are one split.
    """

    def __init__(self, examples: Dataset) -> None:
        super().__init__(list(examples))
        self._own: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in examples:
            self._own[row[SUBTASK_COLUMN]].append(row)

    def sample(
        self, n: int, eval_doc: dict[str, Any] | None = None, df: Any = None, **kwargs: Any
    ) -> list[dict[str, Any]]:
        """`n` examples; never the question itself."""
        del df, kwargs
        assert eval_doc is not None
        own = self._own[eval_doc[SUBTASK_COLUMN]]
        return [row for row in own if row[PROMPT_COLUMN] != eval_doc[PROMPT_COLUMN]][:n]


def require_examples(name: str, examples: Dataset, scored: Dataset, count: int) -> None:
    """Raises UsageError when a question's subtask has fewer than `count` examples to give."""
    there = Counter(examples[SUBTASK_COLUMN][:])
    asked = set(zip(examples[SUBTASK_COLUMN][:], examples[PROMPT_COLUMN][:], strict=True))
    for subtask, prompt in zip(scored[SUBTASK_COLUMN][:], scored[PROMPT_COLUMN][:], strict=True):
        found = there[subtask] - ((subtask, prompt) in asked)
        if found < count:
            raise UsageError(
                f"num_fewshot = {count}, but subtask '{subtask}' of '{name}' has {found} examples"
                " to give in validation"
            )


def with_start_apart(examples: Dataset, scored: Dataset) -> tuple[Dataset, Dataset]:
    """Both with the columns `SHARED` and `OWN`, which together are the prompt.

    The paragraphs that all prompts of a subtask begin with, such as "The following are questions
    about anatomy.", then stand once before the examples.
    """
    prompts: defaultdict[str, list[str]] = defaultdict(list)
    for rows in (examples, scored):
        for subtask, prompt in zip(rows[SUBTASK_COLUMN][:], rows[PROMPT_COLUMN][:], strict=True):
            prompts[subtask].append(prompt.rstrip())
    starts = {subtask: _shared_start(own) for subtask, own in prompts.items()}
    return _split(examples, starts), _split(scored, starts)


def _shared_start(prompts: list[str]) -> str:
    """The paragraphs that all prompts begin with, and a blank line; never a prompt's last one."""
    leading = zip(*(prompt.split(_BLANK_LINE)[:-1] for prompt in prompts), strict=False)
    shared = takewhile(lambda paragraphs: len(set(paragraphs)) == 1, leading)
    return "".join(paragraphs[0] + _BLANK_LINE for paragraphs in shared)


def _split(rows: Dataset, starts: dict[str, str]) -> Dataset:
    shared = [starts[subtask] for subtask in rows[SUBTASK_COLUMN][:]]
    own = [p.removeprefix(s) for p, s in zip(rows[PROMPT_COLUMN][:], shared, strict=True)]
    return rows.add_column(SHARED, shared).add_column(OWN, own)

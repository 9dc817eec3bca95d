"""The evaluator `lm-eval`: options, and one evaluation on the model in memory."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator

from harness.errors import (
    ContractError,
    HarnessWarning,
    MissingDependencyError,
    UsageError,
)
from harness.options import Count, Natural
from harness.protocols import Chatting
from harness.types import Score, Split, TaskData

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.protocols import Student, TaskRecord
    from harness_lm_eval.named_tasks import TaskDict

_PACKAGES = ("lm_eval", "accelerate")


def _without_point(value: object) -> object:
    """Refuses 1.0 and 0.99, which lm-eval takes for one document and for almost all."""
    if isinstance(value, float) or (isinstance(value, str) and not value.strip().isdecimal()):
        raise ValueError("should be a whole number")
    return value


@dataclass(frozen=True)
class LmEval:
    """EleutherAI's evaluation harness (`lm-eval`) on a causal language model.

    Scores are those that lm-eval gives when it is called alone, to the last digit.

    task: a task or group of lm-eval by name, a YAML file, or a folder with one; the questions of
    the harness task itself when empty.
    num_fewshot: examples in front of each question; the task's own number when not set. Those
    of the harness task come from its validation split: the first ones of the question's own
    subtask where there are subtasks, else drawn. fewshot_seed: of such a draw.
    limit: documents scored, the first ones of each task; all when 0.
    batch_size: texts read at once; it may change the last digits of a log-likelihood.
    max_length: tokens of a prompt with its continuation; as many as the model takes when 0.
    long_prompts: `cut` lets longer prompts lose their first tokens, as lm-eval does, and warns;
    `refuse` is an error.
    chat: whether prompts go through the chat template; `student` does what the student does.
    metric: what ranks; the harness task's own when empty, or the first of an lm-eval task.
    """

    task: str = ""
    num_fewshot: Natural | None = None
    fewshot_seed: int = 1234
    limit: Annotated[Natural, BeforeValidator(_without_point)] = 0
    batch_size: Count = 32
    max_length: Natural = 0
    long_prompts: Literal["cut", "refuse"] = "cut"
    chat: Literal["student", "on", "off"] = "student"
    metric: str = ""

    needs: ClassVar[tuple[str, ...]] = ("loglikelihood", "model", "tokenizer")
    modalities: ClassVar[tuple[str, ...]] = ("instruction",)

    def fingerprint(self) -> str:
        """lm-eval's version, and a named task's version, settings and documents.

        Raises:
            UsageError: the named task does not exist or cannot be scored.
            MissingDependencyError: lm-eval or the named task's data is not here.
        """
        version = _version()
        if not self.task:
            # Which examples are shown decides the score as lm-eval's version does.
            return f"lm-eval {version}" + (", examples by subtask" if self.num_fewshot else "")
        from harness_lm_eval.outcomes import main_metric
        from harness_lm_eval.surroundings import undisturbed
        from harness_lm_eval.task_identity import identity_of

        with undisturbed():
            loaded = self._named("test")
            main_metric(self.task, loaded, self.metric)
            content = identity_of(loaded["tasks"])
        return f"lm-eval {version} sha256:{content}"

    def check(self, task: TaskData, students: Mapping[str, Student], *, tunes: bool) -> None:
        """Refuses a task without what is asked for, or with rates to choose where none can be."""
        del students
        if self.task:
            if tunes:
                from harness_lm_eval.surroundings import undisturbed

                with undisturbed():
                    self._named("validation")
            return
        from harness_lm_eval.own_task import check_own_task, own_metric

        own_metric(task, self.metric)
        check_own_task(task, self.num_fewshot or 0, tunes=tunes)

    def evaluate(self, trained: Any, task: TaskData, split: Split, context: StageContext) -> Score:
        """Scores one split; a named task's own validation or reported split in place of the task's.

        Raises:
            UsageError: a continuation without a token or too long for the model, or a named task
                that cannot be scored.
            ContractError: log-likelihoods that are not finite, or a task without choices.
            MissingDependencyError: lm-eval or the named task's data is not here.
        """
        _version()
        from harness.kit.modes import quiet_transformers
        from harness_lm_eval.model import CheckedModel
        from harness_lm_eval.surroundings import same_modes, undisturbed

        chat = self._with_chat(trained)
        with undisturbed(context.track), quiet_transformers(), same_modes(trained.model):
            loaded = self._named(split) if self.task else self._own(task, split, chat=chat)
            lm = CheckedModel(
                trained.model,
                trained.tokenizer,
                batch_size=self.batch_size,
                max_length=self.max_length,
                student=trained.info.name,
                refuses_cuts=self.long_prompts == "refuse",
            )
            score = self._score(loaded, lm, task, split, chat=chat)
        cut = int(np.sum(score.items["truncated"]))
        if cut:
            warnings.warn(
                f"{cut} of {len(score.items['score'])} documents had prompts longer than the"
                f" {lm.max_length} tokens of student '{trained.info.name}', which lost their"
                " first tokens",
                HarnessWarning,
                stacklevel=2,
            )
        return score

    def recompute(self, items: Mapping[str, np.ndarray], task: TaskRecord) -> dict[str, float]:
        """Every metric of `evaluate`: the means of the arrays that bear their names.

        Raises ContractError when an array is missing, or a score is none of its metrics' or not
        that of its prediction."""
        from harness_lm_eval.recomputing import metrics_of_items

        del task
        return metrics_of_items(items)

    def _score(
        self, loaded: TaskDict, lm: Any, task: TaskData, split: Split, *, chat: bool
    ) -> Score:
        from lm_eval.evaluator import evaluate

        from harness_lm_eval.outcomes import FilteredMetric, main_metric, make_score

        results = evaluate(
            lm=lm,
            task_dict=loaded,
            limit=self.limit or None,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
        )
        self._require_examples_as_asked(results)
        if self.task:
            main = main_metric(self.task, loaded, self.metric)
        else:
            from harness_lm_eval.own_task import own_metric

            main = FilteredMetric(own_metric(task, self.metric))
        documents = sum(count["effective"] for count in results["n-samples"].values())
        is_whole_split = not self.task and documents == len(task.split(split))
        return make_score(results, loaded, main, lm.cut, None if is_whole_split else documents)

    def _require_examples_as_asked(self, results: Mapping[str, Any]) -> None:
        """Raises ContractError when lm-eval reports another number of examples than was set."""
        if self.task and self.num_fewshot is None:
            return
        asked = self.num_fewshot or 0
        others = {name: n for name, n in results["n-shot"].items() if n != asked}
        if others:
            raise ContractError(
                plugin="lm-eval",
                field="n-shot",
                expected=f"{asked} examples, as num_fewshot says",
                got=", ".join(f"{n} in '{name}'" for name, n in others.items()),
            )

    def _own(self, task: TaskData, split: Split, *, chat: bool) -> TaskDict:
        from harness_lm_eval.own_task import load_own_task, own_metric

        own_metric(task, self.metric)
        return load_own_task(task, split, self.num_fewshot or 0, self.fewshot_seed, chat=chat)

    def _named(self, split: Split) -> TaskDict:
        """The named task anew: drawing examples changes it."""
        from harness_lm_eval.named_tasks import load_named, score_validation, set_examples

        loaded = load_named(self.task)
        for name, named in loaded["tasks"].items():
            if split == "validation":
                score_validation(name, named)
            set_examples(name, named, self.num_fewshot, self.fewshot_seed)
        return loaded

    def _with_chat(self, trained: Any) -> bool:
        own = isinstance(trained, Chatting) and trained.chat
        chat = own if self.chat == "student" else self.chat == "on"
        if chat and not trained.tokenizer.chat_template:
            raise UsageError(
                f"the tokenizer of student '{trained.info.name}' has no chat template",
                hint="Leave the evaluator's option 'chat' off.",
            )
        return chat


def _version() -> str:
    """lm-eval's version.

    Raises MissingDependencyError when it, or what its transformers models need, is missing."""
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(
                f"evaluator 'lm-eval' needs the package '{package}', which is not installed",
                hint="pip install 'lm-eval[hf]'",
            )
    return importlib.metadata.version("lm_eval")

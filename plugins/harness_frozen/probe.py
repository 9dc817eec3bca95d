"""The student `probe`: logistic regression on another student's frozen text vectors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.array_files import serialised
from harness.errors import UsageError
from harness.kit.logistic_regression import LinearClassifier, fit_logistic
from harness.randomness import derive_seed
from harness.types import LABEL_COLUMN, DistilledData, Recipe, StudentInfo, TaskData
from harness_frozen.text_vectors import TextPooling, TextReader

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.context import StageContext

_META = "probe.json"
_ARRAYS = "probe.safetensors"
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class Probe:
    """Logistic regression on what another student, untrained, makes of the texts.

    A quick student of another architecture: what a set is worth to a model that no distiller
    looked through. Nothing is drawn at random, so seeds differ by their sets alone. The recipe's
    learning rate means nothing here, its steps and batch size bound the rows that are looked at.

    model: the other student, `probe:STUDENT`: a causal language model or a text classifier.
    pooling: how a language model's last hidden states become one vector: their mean, the last, or
        the mean that weights late ones more. A classifier's are averaged.
    penalty: of half the squared weights, against the sum of the rows' cross-entropies; vectors
        are standardised by the training rows first.
    """

    model: str = ""
    pooling: TextPooling = "mean"
    penalty: float = 1.0

    modalities: ClassVar[tuple[str, ...]] = ("text-classification",)
    offers: ClassVar[tuple[str, ...]] = ("predict",)

    def __post_init__(self) -> None:
        if not self.model:
            raise UsageError(
                "student 'probe' needs another student", hint="Write probe:smollm2:135m."
            )
        if not self.penalty > 0:
            raise UsageError(f"penalty = {self.penalty} must be positive")

    @property
    def uses_students(self) -> tuple[str, ...]:
        """The student whose vectors it takes."""
        return (self.model,)

    def fingerprint(self) -> str:
        """Nothing of its own: its classifier starts at zero."""
        return "zero"

    def fit(
        self, task: TaskData, data: DistilledData, recipe: Recipe, context: StageContext
    ) -> FittedProbe:
        """The classifier of a set's rows, with their soft labels and weights.

        Of more rows than the recipe's steps see, as many as they see, drawn once for all seeds.
        Without rows every class is as probable as another.
        """
        reader = TextReader(self.model, task, self.pooling, recipe.max_length, context)
        chosen = _looked_at(len(data.rows), recipe)
        classes = len(task.label_names)
        head = _uniform_head(classes)
        if len(chosen):
            labels = np.asarray(data.rows[LABEL_COLUMN])
            head = fit_head(
                reader.read(data.rows.select(chosen), context),
                (labels if data.soft_labels is None else data.soft_labels)[chosen],
                np.ones(len(chosen)) if data.weights is None else data.weights[chosen],
                classes,
                self.penalty,
            )
        return self._fitted(reader, head)

    def load(self, folder: Path, task: TaskData, context: StageContext) -> FittedProbe:
        """Reads what `FittedProbe.save` wrote."""
        from safetensors.numpy import load_file

        max_length = json.loads((folder / _META).read_text())["max_length"]
        arrays = load_file(folder / _ARRAYS)
        classifier = LinearClassifier(arrays["weight"], arrays["bias"])
        head = StandardisedHead(arrays["mean"], arrays["scale"], classifier)
        return self._fitted(TextReader(self.model, task, self.pooling, max_length, context), head)

    def _fitted(self, reader: TextReader, head: StandardisedHead) -> FittedProbe:
        student = reader.context.student(self.model)
        numbers = head.classifier.weight.size + head.classifier.bias.size
        info = StudentInfo(
            name="probe",
            variant=self.model,
            source=student.fingerprint(),
            parameters=reader.parameters + numbers,
        )
        return FittedProbe(reader, head, info)


@dataclass(frozen=True)
class StandardisedHead:
    """A linear classifier behind a shift and a scale.

    mean, scale: [d] float64, of the training rows' vectors.
    """

    mean: np.ndarray
    scale: np.ndarray
    classifier: LinearClassifier

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """[n, classes] float64."""
        from scipy.special import softmax

        return softmax(self.classifier.scores((vectors - self.mean) / self.scale), axis=1)


@dataclass(frozen=True)
class FittedProbe:
    """A probe that has seen its rows."""

    reader: TextReader
    head: StandardisedHead
    info: StudentInfo

    def predict(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        """Class probabilities, [n, classes], in the order of `rows`."""
        if self.head.classifier.weight.shape[1] == 0:
            return self.head.probabilities(np.zeros((len(rows), 0)))
        return self.head.probabilities(self.reader.read(rows, context))

    def save(self, folder: Path) -> None:
        """Writes the classifier; the model that it looks through is its student's."""
        folder.mkdir(parents=True, exist_ok=True)
        head = self.head
        arrays = {
            "mean": head.mean,
            "scale": head.scale,
            "weight": head.classifier.weight,
            "bias": head.classifier.bias,
        }
        (folder / _ARRAYS).write_bytes(serialised(arrays))
        (folder / _META).write_text(json.dumps({"max_length": self.reader.max_length}))


def fit_head(
    vectors: np.ndarray, labels: np.ndarray, weights: np.ndarray, classes: int, penalty: float
) -> StandardisedHead:
    """Logistic regression on standardised vectors [n, d].

    Minimises sum_i w_i cross-entropy_i + penalty / 2 |weight|^2, the bias free, with the weights
    w scaled to a mean of 1.

    Args:
        labels: [n] classes, or probabilities [n, classes].
        weights: [n], of the rows, not all zero.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    scale = np.maximum(vectors.std(axis=0, dtype=np.float64), _LEAST_SPREAD)
    standard = (vectors - mean) / scale
    decay = penalty / len(vectors)
    classifier = fit_logistic(standard, labels, classes, decay, weights=weights)
    return StandardisedHead(mean, scale, classifier)


def _uniform_head(classes: int) -> StandardisedHead:
    nothing = np.zeros(0)
    return StandardisedHead(
        nothing, nothing, LinearClassifier(np.zeros((classes, 0)), np.zeros(classes))
    )


def _looked_at(count: int, recipe: Recipe) -> np.ndarray:
    """Positions of the rows that the recipe's steps have time for, in order."""
    most = recipe.steps * recipe.batch_size
    if count <= most:
        return np.arange(count)
    generator = np.random.default_rng(derive_seed("probe rows"))
    return np.sort(generator.permutation(count)[:most])

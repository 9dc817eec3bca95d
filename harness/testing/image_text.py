"""The conformance kit for image-text tasks, and models that encode images and texts.

    from harness.testing.image_text import check_image_text_student
    def test_my_student(tmp_path):
        check_image_text_student(MyStudent(), tmp_path)

Nothing here needs data, weights, a GPU or the network.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ContractError
from harness.registry.contracts import check_capabilities, check_score
from harness.testing.conformance import FittedTwice, described_component, require, toy_context
from harness.types import (
    CAPTION_COLUMN,
    IMAGE_COLUMN,
    IMAGE_TEXT_COLUMNS,
    LABEL_COLUMN,
    DataSource,
    DistilledData,
    Recipe,
    Split,
    StudentInfo,
    TaskData,
)

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from harness.context import StageContext
    from harness.data.sources import DataLocator

COLOURS = {"red": (220, 40, 30), "green": (40, 190, 60), "blue": (40, 70, 220)}
SIZE = 16
_NUMBERS = 64
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_TEMPLATES = ("a {} square", "a square that is {}")


def toy_image_text_task(rows: int = 48, *, metric: str = "top1", classes: bool = True) -> TaskData:
    """Noisy squares of three colours, each with its own number in a corner and in its caption.

    Args:
        rows: of the train split; validation and test have a third as many, up to 64.
        classes: the colours, by `class_texts`; a task without classes otherwise.
    """
    sizes = {"train": rows, "validation": rows // 3, "test": rows // 3}
    colours = tuple(COLOURS) if classes else ()
    return TaskData(
        name="toy-squares",
        modality="image-text",
        version=1,
        metric=metric,
        input_columns=IMAGE_TEXT_COLUMNS,
        label_names=colours,
        splits={split: _squares(sizes[split], n, classes) for n, split in enumerate(_SPLITS)},
        source=DataSource("package", "harness.testing.image_text"),
        class_texts=tuple(tuple(t.format(colour) for t in _TEMPLATES) for colour in colours),
    )


@dataclass(frozen=True)
class ToyImageTextTask:
    """`toy_image_text_task` as a component."""

    rows: int = 48

    def load(self, locator: DataLocator) -> TaskData:
        del locator
        return toy_image_text_task(self.rows)


class FixedEmbeddings:
    """Embeds as two functions say: a model by hand. They give [width] for a picture or a text."""

    def __init__(
        self, image: Callable[[np.ndarray], np.ndarray], text: Callable[[str], np.ndarray]
    ) -> None:
        self._image = image
        self._text = text
        self.info = StudentInfo("fixed", "", "none", 0)

    def encode_image(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        import numpy as np

        del context
        return _units([self._image(np.asarray(image)) for image in rows[IMAGE_COLUMN]])

    def encode_text(self, texts: Sequence[str], context: StageContext | None = None) -> np.ndarray:
        del context
        return _units([self._text(text) for text in texts])

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)


def seeing_model() -> FixedEmbeddings:
    """Knows the colour and the number of the toy task's squares and captions."""
    return FixedEmbeddings(_seen, _read)


def check_image_text_student(student: Any, folder: Path, task: TaskData | None = None) -> None:
    """A student trains reproducibly, survives saving, and embeds rows and texts one by one.

    Raises:
        ContractError: it does not.
    """
    import numpy as np

    component = described_component("student", student)
    sealed = (task or toy_image_text_task()).sealed()
    data = DistilledData.select(sealed, range(min(24, len(sealed.train))))
    recipe = Recipe(steps=3, batch_size=8)
    fitted = FittedTwice.of(component, student, sealed, data, recipe, folder)
    rows = sealed.validation
    texts = list(rows[CAPTION_COLUMN][:])
    images, words = fitted.first.encode_image(rows), fitted.first.encode_text(texts)
    for field, made in (("encode_image", images), ("encode_text", words)):
        fine = made.dtype == np.float32 and made.ndim == 2 and len(made) == len(rows)
        require(component, fine, field, f"float32 of shape ({len(rows)}, width)")
        lengths = np.linalg.norm(made, axis=1)
        require(component, bool(np.allclose(lengths, 1, atol=1e-4)), field, "unit vectors")
    require(component, images.shape == words.shape, "encode_text", "the width of the images")
    for field, again in (
        ("encode_image", fitted.first.encode_image(rows.select(range(len(rows))[::-1]))[::-1]),
        ("encode_text", fitted.first.encode_text(texts[::-1])[::-1]),
    ):
        first = images if field == "encode_image" else words
        require(component, bool(np.allclose(first, again, atol=1e-4)), field,
                 "embeddings in the order given")  # fmt: skip
    require(component, bool(np.array_equal(images, fitted.again.encode_image(rows))), "fit",
            "the same weights for the same seed")  # fmt: skip
    same = np.allclose(images, fitted.loaded.encode_image(rows), atol=1e-4)
    same = same and np.allclose(words, fitted.loaded.encode_text(texts), atol=1e-4)
    require(component, bool(same), "load", "the model that was saved")


def check_image_text_evaluator(evaluator: Any, folder: Path, task: TaskData | None = None) -> None:
    """An evaluator of the toy task rewards a model that sees, gives no credit to one that does
    not, whose embeddings are all equal, and refuses NaN.

    Raises:
        ContractError: it does not.
    """
    import numpy as np

    component = described_component("evaluator", evaluator)
    task = task or toy_image_text_task()
    split: Split = "test"
    blind = FixedEmbeddings(lambda picture: np.ones(4), lambda text: np.ones(4))
    values = []
    for model in (seeing_model(), blind):
        check_capabilities(component, evaluator.needs, model)
        score = evaluator.evaluate(model, task, split, toy_context(folder))
        check_score(component, score, task, split)
        values.append(score.value)
    chance = max(task.class_counts(split), default=1) / len(task.split(split))
    require(component, values[0] == 1.0, "metrics", "1 for a model that sees")
    require(component, values[1] <= chance + 1e-9, "metrics",
             f"at most {chance:.3g} for a model to which all is equal")  # fmt: skip
    broken = FixedEmbeddings(lambda picture: np.full(4, np.nan), lambda text: np.ones(4))
    try:
        evaluator.evaluate(broken, task, split, toy_context(folder))
    except ContractError:
        return
    require(component, False, "evaluate", "an error when embeddings are NaN")


def _squares(rows: int, seed: int, classes: bool) -> Dataset:
    import numpy as np
    import PIL.Image
    from datasets import Dataset, Features, Image, Value

    generator = np.random.default_rng(seed)
    names = list(COLOURS)
    labels = [n % len(names) for n in range(rows)]
    images = []
    for number, label in enumerate(labels):
        noise = generator.normal(0, 10, (SIZE, SIZE, 3))
        values = np.clip(np.array(COLOURS[names[label]]) + noise, 0, 255).astype(np.uint8)
        values[0, 0] = number % _NUMBERS
        file = io.BytesIO()
        PIL.Image.fromarray(values).save(file, "PNG")
        images.append({"bytes": file.getvalue(), "path": None})
    captions = [f"a {names[label]} square, number {n % _NUMBERS}" for n, label in enumerate(labels)]
    columns: dict[str, Any] = {IMAGE_COLUMN: images, CAPTION_COLUMN: captions}
    features = {IMAGE_COLUMN: Image(), CAPTION_COLUMN: Value("string")}
    if classes:
        columns[LABEL_COLUMN], features[LABEL_COLUMN] = labels, Value("int64")
    return Dataset.from_dict(columns, features=Features(features))


def _seen(picture: np.ndarray) -> np.ndarray:
    """[colours + numbers]: which colour the square is, and, weaker, which number it has."""
    import numpy as np

    distances = [np.abs(picture[4:, 4:].mean((0, 1)) - c).sum() for c in COLOURS.values()]
    return _told(int(np.argmin(distances)), int(picture[0, 0, 0]))


def _read(text: str) -> np.ndarray:
    words = text.replace(",", "").split()
    colour = next(n for n, name in enumerate(COLOURS) if name in words)
    return _told(colour, int(words[-1]) if words[-1].isdecimal() else None)


def _told(colour: int, number: int | None) -> np.ndarray:
    import numpy as np

    vector = np.zeros(len(COLOURS) + _NUMBERS)
    vector[colour] = 2.0
    if number is not None:
        vector[len(COLOURS) + number] = 1.0
    return vector


def _units(vectors: Sequence[np.ndarray]) -> np.ndarray:
    import numpy as np

    made = np.stack(vectors).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)

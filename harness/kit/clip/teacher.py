"""The teacher of CLIP's model distillers: trained once, its embeddings computed once.

Both are kept through the context's cache, so all methods and seeds of a suite have the same
teacher, and each is charged its seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.context import StageContext
from harness.errors import UsageError
from harness.fingerprint import task_fingerprint
from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.image_augmentation import Augmentation
from harness.kit.clip.image_rows import image_text_rows
from harness.kit.clip.model import ClipModel
from harness.kit.clip.student import build_clip_student, train_on_task
from harness.kit.clip.training import ContrastiveObjective
from harness.protocols import FromPretrained
from harness.randomness import derive_seed
from harness.types import Recipe, TaskData

_ALGORITHM = 1


@dataclass(frozen=True)
class TeacherTraining:
    """How a teacher without weights of its own is trained, by the plain contrastive loss.

    Its own recipe, since it should be good rather than comparable. seed: of its weights and
    batches, whatever the seed of the stage that asks.
    """

    steps: int = 1000
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    warmup: float = 0.1
    seed: int = 0

    def recipe(self) -> Recipe:
        """The same as the training loop takes it."""
        return Recipe(
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup=self.warmup,
        )


@dataclass(frozen=True)
class TeacherEmbeddings:
    """What a teacher makes of the train rows.

    image: [k, n, d] unit embeddings of each row's k augmentations, float32; text: [n, d] of the
    captions; scale: the teacher's exp(logit_scale); bias: None for a teacher without.
    """

    image: np.ndarray
    text: np.ndarray
    scale: float
    bias: float | None = None

    @property
    def bytes(self) -> int:
        """What keeping them costs."""
        return self.image.nbytes + self.text.nbytes


@dataclass(frozen=True)
class StoredTeacher:
    """What a teacher said of the train rows as they are, on a device.

    image, text: [n, d] units; scale, bias: the teacher's own.
    """

    image: Tensor
    text: Tensor
    scale: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, embeddings: TeacherEmbeddings, device: torch.device) -> StoredTeacher:
        """Embeddings that were computed once, the first augmentation of each row."""
        scale, bias = (
            None if value is None else torch.tensor(value, dtype=torch.float32, device=device)
            for value in (embeddings.scale, embeddings.bias)
        )
        assert scale is not None
        image, text = (
            torch.from_numpy(rows).to(device) for rows in (embeddings.image[0], embeddings.text)
        )
        return cls(image, text, scale, bias)

    def features(self, rows: np.ndarray, scale: float = 0.0) -> ClipFeatures:
        """Of some rows, [b]; scale: instead of the teacher's own, unless 0."""
        places = torch.from_numpy(rows).to(self.image.device)
        return ClipFeatures(
            image=self.image[places],
            text=self.text[places],
            scale=self.scale.new_tensor(scale) if scale else self.scale,
            bias=self.bias,
        )


def trained_teacher(
    spec: str, task: TaskData, options: TeacherTraining, context: StageContext
) -> ClipModel:
    """The student `spec` trained on the whole train split, frozen and in eval mode.

    A student with `pretrained` weights is taken as it is.

    Raises:
        UsageError: no student is named, or it builds no CLIP.
    """
    student = _student(spec, context)
    own = replace(context, seed=derive_seed("teacher", options.seed), curves={})
    teacher = build_clip_student(student, task, "a teacher", own)
    if not (isinstance(student, FromPretrained) and student.pretrained):

        def train() -> dict[str, np.ndarray]:
            train_on_task(teacher, task, ContrastiveObjective(), options.recipe(), own)
            state = teacher.model.state_dict()
            return {name: tensor.cpu().numpy() for name, tensor in state.items()}

        inputs = teacher_inputs(spec, task, options, context)
        stored = context.cache.arrays("clip-teacher", inputs, train)
        teacher.model.load_state_dict({n: torch.from_numpy(a) for n, a in stored.items()})
    teacher.model.requires_grad_(False).eval()
    return teacher


def teacher_embeddings(
    spec: str,
    task: TaskData,
    options: TeacherTraining,
    context: StageContext,
    *,
    augmentation: Augmentation | None = None,
) -> TeacherEmbeddings:
    """The teacher's embeddings of train's images and captions.

    Args:
        augmentation: with it, row r's embedding k is that of augmentation k; the image as it is
            when None.

    Raises:
        UsageError: the augmentation is another one at each visit, so that nothing can be stored.
    """
    if augmentation is not None and augmentation.count == 0:
        raise UsageError("to store embeddings, an augmentation needs a count of 1 or more")
    # Outside of what is stored, so that the teacher's own seconds are not charged twice.
    teacher = trained_teacher(spec, task, options, context)
    inputs = teacher_inputs(spec, task, options, context)
    inputs["augmentation"] = None if augmentation is None else asdict(augmentation)

    def embed() -> dict[str, np.ndarray]:
        return _embed(teacher, task, augmentation, context)

    stored = context.cache.arrays("clip-teacher-embeddings", inputs, embed)
    bias = stored["bias"]
    return TeacherEmbeddings(
        image=stored["image"],
        text=stored["text"],
        scale=float(stored["scale"][0]),
        bias=float(bias[0]) if len(bias) else None,
    )


def teacher_inputs(
    spec: str, task: TaskData, options: TeacherTraining, context: StageContext
) -> dict[str, Any]:
    """What a teacher depends on, to name a cached result by."""
    _student(spec, context)
    return {
        "algorithm": _ALGORITHM,
        "teacher": spec,
        **context.student_inputs(spec),
        "training": asdict(options),
        "task": task_fingerprint(task.sealed()),
    }


def _embed(
    teacher: ClipModel, task: TaskData, augmentation: Augmentation | None, context: StageContext
) -> dict[str, np.ndarray]:
    rows = image_text_rows(task.train, teacher.image, context)
    made = []
    for number in range(1 if augmentation is None else augmentation.count):

        def augment(places: np.ndarray, number: int = number) -> Any:
            assert augmentation is not None
            return augmentation.draw(places, np.full(len(places), number))

        chosen = None if augmentation is None else augment
        made.append(teacher.encode_images(rows.images, context, chosen))
    core = teacher.model
    bias = [] if core.logit_bias is None else [core.logit_bias.item()]
    return {
        "image": np.stack(made),
        "text": teacher.encode_text(rows.captions, context),
        "scale": np.array([core.logit_scale.exp().item()], dtype=np.float64),
        "bias": np.array(bias, dtype=np.float64),
    }


def _student(spec: str, context: StageContext) -> Any:
    if not spec:
        raise UsageError(
            "no teacher to learn from", hint="Set teacher to a student like clip:base32."
        )
    return context.student(spec)

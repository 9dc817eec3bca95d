"""Embeddings of a task's rows by a proxy's encoder or TF-IDF, computed once and shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from harness.context import StageContext
from harness.data.pool import positions_in_whole
from harness.data.texts import joined_texts
from harness.errors import HarnessError, UsageError
from harness.fingerprint import rows_digest
from harness.protocols import BuildsModel
from harness.randomness import derive_seed
from harness.types import Split, TaskData

if TYPE_CHECKING:
    from harness.kit.text.classifier import Pooling, TextStudent

Embedding = Literal["proxy", "tfidf"]

TFIDF = "tfidf"
TFIDF_DIMENSIONS = 256
MAX_LENGTH = 128
_TFIDF_VERSION = 1
_SEED = derive_seed("embedding")


def embed_rows(
    task: TaskData,
    split: Split,
    encoder: str,
    pooling: Pooling,
    context: StageContext,
    *,
    rows: Sequence[int] | np.ndarray | None = None,
) -> np.ndarray:
    """One vector a row of a split, [n, d] float32, in the order of `rows`.

    The vectors depend on the task, the encoder and the rows, never on the stage's seed: what an
    encoder draws at random, such as the weights of one without a checkpoint, is drawn from a
    seed of its own. So all methods, seeds and budgets of a store share one computation.

    Args:
        encoder: `tfidf`, or the spec of a student that can `build` a text classifier, for an
            instruction task a language model; it is used as built, before any training. For images
            with captions it is a CLIP, whose image tower is used; one without weights of its own
            is trained first, as a teacher is by default.
        pooling: how the encoder's last layer becomes one vector; without meaning for `tfidf` and
            for images. `cls` is a language model's last token; it has no `head`.
        rows: positions in the split, all of it by default.

    Raises:
        UsageError: no encoder, one that does not embed such rows, or images outside of train.
        HarnessError: a vector is not finite.
    """
    shared = positions_in_whole(task, split, rows)
    if shared is not None:
        return embed_rows(task.whole(), split, encoder, pooling, context)[shared]
    if encoder != TFIDF and task.modality == "instruction":
        return _instruction_vectors(task, split, encoder, pooling, context, rows)
    if encoder != TFIDF and task.modality == "image-text":
        return _image_vectors(task, split, encoder, context, rows)
    chosen = task.split(split)
    if rows is not None:
        chosen = chosen.select(np.asarray(rows, dtype=np.int64))
    columns = list(task.input_columns)
    inputs: dict[str, Any] = {"rows": rows_digest(chosen.select_columns(columns))}
    if encoder == TFIDF:
        inputs |= {"tfidf": _TFIDF_VERSION, "dimensions": TFIDF_DIMENSIONS, "columns": columns}
    else:
        inputs |= proxy_inputs(task, encoder, context) | {"pooling": pooling}

    def compute() -> dict[str, np.ndarray]:
        if encoder == TFIDF:
            vectors = tfidf_vectors(joined_texts(chosen, columns))
        else:
            own = replace(context, seed=_SEED)
            classifier = proxy_student(encoder, context).build(task, own, max_length=MAX_LENGTH)
            vectors = classifier.embed(chosen, pooling, context)
        _require_finite(vectors, encoder)
        return {"vectors": vectors}

    return context.cache.arrays("embedding", inputs, compute)["vectors"]


def proxy_student(spec: str, context: StageContext) -> TextStudent:
    """The student that a method uses as its proxy.

    Raises:
        UsageError: no proxy is named, or the student cannot build a text classifier.
    """
    if not spec:
        raise UsageError(
            "no proxy to look at the rows with", hint="Set proxy to a student like bert:minilm."
        )
    student = context.student(spec)
    if not isinstance(student, BuildsModel):
        raise UsageError(
            f"student '{spec}' builds no text classifier, so it cannot be a proxy",
            hint="Set proxy to a student like bert:minilm, or embedding to tfidf.",
        )
    return cast("TextStudent", student)


def proxy_inputs(task: TaskData, spec: str, context: StageContext) -> dict[str, Any]:
    """What an untrained proxy depends on, to name a cached result by: spec, options, weights.

    It covers the content of train, because a student may learn a vocabulary from it.
    """
    proxy_student(spec, context)
    return {
        "task": task.name,
        "train": rows_digest(task.train),
        "proxy": spec,
        **context.student_inputs(spec),
        "max_length": MAX_LENGTH,
    }


def tfidf_vectors(texts: Sequence[str], dimensions: int = TFIDF_DIMENSIONS) -> np.ndarray:
    """TF-IDF rows projected on their leading singular vectors, each of length 1.

    Term frequencies are damped to 1 + ln(tf); the singular vectors come from a randomised
    decomposition with a fixed seed (latent semantic analysis). A text without words gives a row
    of zeros.

    Returns:
        [n, d] float32, d at most `dimensions` and below the numbers of texts and of terms; with
        one text or one term there is nothing to project, and the TF-IDF rows come as they are.

    Raises:
        UsageError: no text holds a word.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    try:
        counts = vectorizer.fit_transform(texts)
    except ValueError as error:
        raise UsageError("TF-IDF found no words in the texts") from error
    kept = min(dimensions, counts.shape[0] - 1, counts.shape[1] - 1)
    if kept < 1:
        return counts.toarray().astype(np.float32)
    vectors = TruncatedSVD(kept, random_state=_SEED).fit_transform(counts)
    return normalize(vectors).astype(np.float32)


def _instruction_vectors(
    task: TaskData,
    split: Split,
    encoder: str,
    pooling: Pooling,
    context: StageContext,
    rows: Sequence[int] | np.ndarray | None,
) -> np.ndarray:
    from harness.kit.language.proxy import CausalProxy

    if pooling == "head":
        raise UsageError(
            "pooling 'head' is not defined for a language model", hint="Use pooling 'mean'."
        )
    chosen = None if rows is None else np.asarray(rows, dtype=np.int64)
    states = CausalProxy(encoder, task, context).states(split, rows=chosen)
    vectors = states.mean if pooling == "mean" else states.last
    _require_finite(vectors, encoder)
    return vectors


def _image_vectors(
    task: TaskData,
    split: Split,
    encoder: str,
    context: StageContext,
    rows: Sequence[int] | np.ndarray | None,
) -> np.ndarray:
    from harness.kit.clip.teacher import TeacherTraining, teacher_embeddings

    if split != "train":
        raise UsageError(f"images of '{split}' are not embedded, only those of train")
    vectors = teacher_embeddings(encoder, task, TeacherTraining(), context).image[0]
    return vectors if rows is None else vectors[np.asarray(rows, dtype=np.int64)]


def _require_finite(vectors: np.ndarray, encoder: str) -> None:
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        raise HarnessError(
            f"encoder '{encoder}' gave NaN or infinity for {int(bad.sum())} of {len(bad)} rows,"
            f" the first is row {int(bad.argmax())}",
            hint="Its weights overflow on these texts; choose another proxy, or embedding tfidf.",
        )

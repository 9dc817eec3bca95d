"""Image and text embeddings of a model, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import ContractError
from harness.kit.evaluation import broken_result
from harness.protocols import ImageTextModel

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.context import StageContext

_LENGTH_TOLERANCE = 1e-3


def image_embeddings(model: ImageTextModel, rows: Dataset, context: StageContext) -> np.ndarray:
    """[n, width] float32 unit embeddings of the rows' images.

    Raises:
        ContractError: the model gave something else.
    """
    return _checked(model, "encode_image", model.encode_image(rows, context), len(rows))


def text_embeddings(
    model: ImageTextModel, texts: Sequence[str], context: StageContext
) -> np.ndarray:
    """[n, width] float32 unit embeddings of some texts.

    Raises:
        ContractError: the model gave something else.
    """
    return _checked(model, "encode_text", model.encode_text(texts, context), len(texts))


def require_same_width(model: ImageTextModel, images: np.ndarray, texts: np.ndarray) -> None:
    """Raises ContractError when images and texts are not embedded in one space."""
    if images.shape[1] != texts.shape[1]:
        raise ContractError(
            plugin=f"student '{model.info.name}'",
            field="the width of its embeddings",
            expected=f"{images.shape[1]} for texts, as for images",
            got=str(texts.shape[1]),
        )


def _checked(model: ImageTextModel, method: str, found: np.ndarray, rows: int) -> np.ndarray:
    embeddings = np.asarray(found)
    if embeddings.ndim != 2 or len(embeddings) != rows or embeddings.shape[1] == 0:
        expected, got = f"an array of shape ({rows}, width)", f"shape {embeddings.shape}"
        raise broken_result(model, method, expected, got)
    bad = int((~np.isfinite(embeddings)).any(axis=1).sum())
    if bad:
        got = f"NaN or infinity in {bad} of {rows} rows"
        raise broken_result(model, method, "finite numbers", got)
    off = int((np.abs(np.linalg.norm(embeddings, axis=1) - 1) > _LENGTH_TOLERANCE).sum())
    if off:
        raise broken_result(model, method, "rows of length 1", f"another length in {off} of {rows}")
    return embeddings.astype(np.float32, copy=False)

"""Options of distillers with a teacher: stored or live embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.kit.clip.teacher_options import TeacherOptions


@dataclass(frozen=True)
class TaughtOptions(TeacherOptions):
    """embeddings: of the teacher, `stored` once for all rows, or `live` at every step; the same
    but for rounding, since batches show rows as they are.
    """

    embeddings: Literal["stored", "live"] = "stored"

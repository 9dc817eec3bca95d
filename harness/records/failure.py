"""Failures: cells that did not become a record, with stage and error."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from harness.errors import StoreError
from harness.options import adapter


@dataclass(frozen=True)
class Failure:
    """A cell of the plan that did not become a record.

    key: of the evaluate stage, as the record's would be.
    task, distiller, student, evaluator: labels such as `bert:minilm`, as in a record.
    stage: `unknown` when the process died in the middle.
    error: the exception's type; message: its text; trace: where it happened, for errors that
    are not the harness's own.
    """

    key: str
    task: str
    distiller: str
    budget: str
    student: str
    evaluator: str
    distill_seed: int
    fit_seed: int
    stage: Literal["distill", "fit", "evaluate", "unknown"]
    error: str
    message: str
    trace: str = ""

    def to_json(self) -> bytes:
        """The document as stored: sorted keys, a newline at the end."""
        import json

        return (json.dumps(asdict(self), sort_keys=True, indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, text: bytes, *, where: str) -> Failure:
        """Reads and validates a stored document.

        Raises:
            StoreError: it is cut off or not a failure.
        """
        try:
            return adapter(Failure).validate_json(text)
        except ValueError as error:
            raise StoreError(
                f"{where} is not a complete failure report ({error})",
                hint="Delete the file and run the same command again.",
            ) from error

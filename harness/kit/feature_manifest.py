"""What a stored feature depends on, written beside it, so that no two kinds are ever mixed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import HarnessError, UsageError

_NAME = "manifest.json"
_FORMAT = 1
_COMPARED = ("model", "template", "checkpoint", "layout", "projector")


@dataclass(frozen=True)
class FeatureManifest:
    """Everything that a row of features depends on.

    model, template, checkpoint, layout, data: fingerprints of the weights, the prompt format, the
    moment of training, the parameters' order and the rows; feature: how a gradient became a
    feature; projector: `Projector.manifest()`; rows: how many there are; dtype: on disk.
    """

    model: str
    template: str
    checkpoint: str
    layout: str
    data: str
    feature: str
    projector: Mapping[str, Any]
    rows: int
    dtype: Literal["float16", "float32"] = "float32"

    @property
    def width(self) -> int:
        return int(self.projector["outputs"])

    def require_comparable(self, other: FeatureManifest) -> None:
        """Refuses to compare rows of different spaces; data, feature and dtype may differ.

        Raises:
            UsageError: model, template, checkpoint, layout or projector differ.
        """
        self._require(other, _COMPARED, "features of different spaces cannot be compared")

    def require_equal(self, other: FeatureManifest, what: str) -> None:
        """Refuses any difference; `what` begins the message.

        Raises:
            UsageError: something differs.
        """
        self._require(other, tuple(asdict(self)), what)

    def _require(self, other: FeatureManifest, names: Sequence[str], what: str) -> None:
        own, others = asdict(self), asdict(other)
        differing = [name for name in names if own[name] != others[name]]
        if differing:
            pairs = "; ".join(f"{name}: {own[name]} and {others[name]}" for name in differing)
            raise UsageError(f"{what}: {pairs}")


def write_manifest(folder: Path, manifest: FeatureManifest) -> None:
    """Writes `manifest.json`: whole or not at all."""
    partial = folder / f"{_NAME}.partial"
    with partial.open("w", encoding="utf-8") as text:
        json.dump({"format": _FORMAT, **asdict(manifest)}, text, indent=1, sort_keys=True)
        text.flush()
        os.fsync(text.fileno())
    partial.replace(folder / _NAME)


def read_manifest(folder: Path) -> FeatureManifest:
    """The manifest of a folder.

    Raises:
        UsageError: there is none.
        HarnessError: it cannot be read, or is of another version of the format.
    """
    try:
        found = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        version = found.pop("format")
        if version != _FORMAT:
            raise damaged(folder, f"its format is {version}, this is {_FORMAT}")
        return FeatureManifest(**found)
    except FileNotFoundError as error:
        raise UsageError(f"there is no feature store in '{folder}'") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(folder, f"{_NAME} cannot be read") from error


def damaged(folder: Path, why: str) -> HarnessError:
    """The error for a folder that no longer holds what was written."""
    return HarnessError(
        f"the feature store in '{folder}' is damaged: {why}", hint="Delete it and run again."
    )

"""The manifest of stored gradient features: model, checkpoint, layout, projection and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import HarnessError
from harness.kit.files import manifest_file

_FORMAT = 1
_WHAT = "feature store"


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

    def require_equal(self, other: FeatureManifest, what: str) -> None:
        """Refuses any difference; `what` begins the message.

        Raises:
            UsageError: something differs.
        """
        fields = asdict(self)
        manifest_file.require_equal_fields(fields, asdict(other), tuple(fields), what)


def write_manifest(folder: Path, manifest: FeatureManifest) -> None:
    """Writes `manifest.json`: whole or not at all."""
    manifest_file.write_fields(folder, _FORMAT, asdict(manifest))


def read_manifest(folder: Path) -> FeatureManifest:
    """The manifest of a folder.

    Raises:
        UsageError: there is none.
        HarnessError: it cannot be read, or is of another version of the format.
    """
    fields = manifest_file.read_fields(folder, _FORMAT, _WHAT)
    try:
        return FeatureManifest(**fields)
    except TypeError as error:
        raise damaged(folder, f"{manifest_file.NAME} cannot be read") from error


def damaged(folder: Path, why: str) -> HarnessError:
    """The error for a folder that no longer holds what was written."""
    return manifest_file.damaged(folder, _WHAT, why)

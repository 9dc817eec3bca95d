"""The settings of experts, and what a folder of them depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from harness.errors import UsageError
from harness.kit.files import manifest_file
from harness.kit.training.parameter_layout import ParameterLayout
from harness.kit.trajectories.experts.optimizer import ExpertOptimizer
from harness.options import Count, require_fields

WHAT = "folder of expert trajectories"
_FORMAT = 1


@dataclass(frozen=True)
class ExpertOptions:
    """How many experts, how long, and what is kept of them.

    steps: updates of each; every: updates between two kept states; batch_size: rows an update;
    seed: draws each expert's order of the rows.
    """

    experts: Count = 4
    steps: Count = 100
    every: Count = 10
    batch_size: Count = 16
    optimizer: ExpertOptimizer = field(default_factory=ExpertOptimizer)
    seed: int = 0

    def __post_init__(self) -> None:
        require_fields(self, where="experts")
        if self.steps % self.every:
            raise UsageError(
                f"an expert of {self.steps} steps cannot keep a state every {self.every} steps",
                hint="Choose steps as a multiple of every.",
            )

    @property
    def states(self) -> int:
        """States kept of each expert, the initialisation among them."""
        return self.steps // self.every + 1


@dataclass(frozen=True)
class ExpertManifest:
    """Everything that the trajectories depend on.

    model, data: fingerprints of the frozen weights and of the rows; initial: of the trained
    parameters before any step, the same for all experts; rows: how many there are.
    """

    model: str
    data: str
    initial: str
    rows: int
    layout: ParameterLayout
    options: ExpertOptions
    dropout: Literal["off"] = "off"
    dtype: Literal["float32"] = "float32"

    @property
    def batch_size(self) -> int:
        """Rows of every batch: no batch is short."""
        return min(self.options.batch_size, self.rows)

    def fields(self) -> dict[str, Any]:
        """As JSON values."""
        options = asdict(self.options)
        options["optimizer"]["betas"] = list(self.options.optimizer.betas)
        return {
            "model": self.model,
            "data": self.data,
            "initial": self.initial,
            "rows": self.rows,
            "dropout": self.dropout,
            "dtype": self.dtype,
            "names": list(self.layout.names),
            "shapes": [list(shape) for shape in self.layout.shapes],
            **options,
        }

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> ExpertManifest:
        """What `fields` gave.

        Raises:
            KeyError, TypeError: something is missing or unknown.
        """
        rest = dict(fields)
        names = ("model", "data", "initial", "rows", "dropout", "dtype")
        own = {name: rest.pop(name) for name in names}
        shapes = tuple(tuple(shape) for shape in rest.pop("shapes"))
        layout = ParameterLayout(tuple(rest.pop("names")), shapes)
        optimizer = dict(rest.pop("optimizer"))
        optimizer["betas"] = tuple(optimizer["betas"])
        options = ExpertOptions(**rest, optimizer=ExpertOptimizer(**optimizer))
        return cls(**own, layout=layout, options=options)

    def require_equal(self, other: ExpertManifest, message: str) -> None:
        """Refuses any difference; `message` begins the error.

        Raises:
            UsageError: experts of another model, initialisation, data or setting.
        """
        own, others = self._compared(), other._compared()
        manifest_file.require_equal_fields(own, others, tuple(own), message)

    def _compared(self) -> dict[str, Any]:
        fields = self.fields()
        del fields["names"], fields["shapes"]
        return {**fields, "layout": self.layout.digest}


def write_manifest(folder: Path, manifest: ExpertManifest) -> None:
    """Writes `manifest.json`: whole or not at all."""
    manifest_file.write_fields(folder, _FORMAT, manifest.fields())


def read_manifest(folder: Path) -> ExpertManifest:
    """The manifest of a folder.

    Raises:
        UsageError: there is none.
        HarnessError: it cannot be read, or is of another version of the format.
    """
    fields = manifest_file.read_fields(folder, _FORMAT, WHAT)
    try:
        return ExpertManifest.of_fields(fields)
    except (KeyError, TypeError, UsageError) as error:
        why = f"{manifest_file.NAME} cannot be read"
        raise manifest_file.damaged(folder, WHAT, why) from error


def weights_digest(weights: Tensor) -> str:
    """64 hexadecimal digits over [P] float32 weights, bit for bit."""
    return hashlib.sha256(weights.cpu().numpy().astype("<f4").tobytes()).hexdigest()

"""The record of an evaluated run: one JSON document, enough to rebuild the board from."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from harness.budget import Budget
from harness.errors import StoreError
from harness.options import adapter
from harness.records.curves import Curve

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 1
_PACKED_TYPES = {"bool", "uint8", "uint16", "int32", "float32", "float64"}


@dataclass(frozen=True)
class ComponentRecord:
    """A task, distiller, student or evaluator as it was used.

    reference: a distiller whose row has no rank.
    """

    name: str
    label: str
    version: str
    plugin: str
    distribution: str
    options: dict[str, Any]
    fingerprint: str = ""
    reference: bool = False


@dataclass(frozen=True)
class TaskRecord:
    """The data: identity, where it came from, and its sizes."""

    component: ComponentRecord
    fingerprint: str
    test_fingerprint: str
    version: int
    metric: str
    source_kind: str
    source_detail: str
    rows: dict[str, int]
    label_names: tuple[str, ...]


@dataclass(frozen=True)
class StudentRecord:
    """The student: component, resolved variant, source and size.

    multiply_adds: of one row's forward pass; 0 where they were not counted.
    """

    component: ComponentRecord
    variant: str
    source: str
    parameters: int
    multiply_adds: int = 0


@dataclass(frozen=True)
class DistilledRecord:
    """What was distilled: size, content hash and the method's own report.

    bytes: everything that training on it needs: texts, soft labels and weights.
    samples: a few of its rows, cut to be read, not to be trained on.
    soft_labels: whether it is trained on with target probabilities of the method's own.
    """

    rows: int
    bytes: int
    content: str
    produces: str
    used_splits: tuple[str, ...]
    report: dict[str, float | int | str]
    samples: tuple[dict[str, str], ...] = ()
    soft_labels: bool = False


@dataclass(frozen=True)
class Cost:
    """One stage's bill. seconds: wall time, resumed parts added up; peak_bytes: memory."""

    seconds: float
    peak_bytes: int
    device_peak_bytes: int = 0


@dataclass(frozen=True)
class Costs:
    distill: Cost
    fit: Cost
    evaluate: Cost

    @property
    def seconds(self) -> float:
        return self.distill.seconds + self.fit.seconds + self.evaluate.seconds


@dataclass(frozen=True)
class Tuning:
    """The learning-rate grid, the validation score at each rate, and the rate chosen.

    validation: empty when the grid has one rate; None where training diverged.
    """

    grid: tuple[float, ...]
    validation: tuple[float | None, ...]
    chosen: float


@dataclass(frozen=True)
class PackedArray:
    """A per-item array, deflated and base64'd."""

    dtype: Literal["bool", "uint8", "uint16", "int32", "float32", "float64"]
    length: int
    data: str

    @classmethod
    def pack(cls, array: np.ndarray) -> PackedArray:
        name = str(array.dtype)
        if name not in _PACKED_TYPES:
            raise StoreError(f"items of dtype {name} cannot be packed")
        little = array.astype(array.dtype.newbyteorder("<"))
        packed = base64.b64encode(zlib.compress(little.tobytes(), 9)).decode()
        return cls(dtype=name, length=len(array), data=packed)  # type: ignore[arg-type]

    def unpack(self) -> np.ndarray:
        import numpy as np

        raw = zlib.decompress(base64.b64decode(self.data))
        array = np.frombuffer(raw, dtype=np.dtype(self.dtype).newbyteorder("<"))
        if len(array) != self.length:
            raise StoreError(f"packed items hold {len(array)} values, expected {self.length}")
        return array


@dataclass(frozen=True)
class Provenance:
    """Where and when a run happened; never part of a key."""

    harness: str
    packages: dict[str, str]
    python: str
    platform: str
    processor: str
    cores: int
    threads: int
    device: str
    commit: str
    dirty: bool
    command: str
    created: str


@dataclass(frozen=True)
class Record:
    """One (task, distiller, budget, seeds, student, evaluator) with its score.

    key: of the evaluate stage; it covers the keys of the two stages before it.
    protocol: hash of what all rows of a board must share (recipe, grid, task, evaluator).
    curves: what distilling and fitting measured at every step, as `fit: loss`.
    scored: how many items were scored, where these are not all rows of the test split.
    pool: the share of the train rows that the distilling seed drew for the method to look at.
    """

    key: str
    distill_key: str
    fit_key: str
    suite: str
    suite_version: int
    protocol: str
    task: TaskRecord
    distiller: ComponentRecord
    distilled: DistilledRecord
    budget: str
    distill_seed: int
    fit_seed: int
    student: StudentRecord
    recipe: dict[str, Any]
    tuning: Tuning
    evaluator: ComponentRecord
    main: str
    metrics: dict[str, float]
    items: dict[str, PackedArray]
    costs: Costs
    provenance: Provenance
    curves: dict[str, Curve] = field(default_factory=dict)
    scored: int | None = None
    pool: float = 1.0
    schema: int = field(default=SCHEMA)

    @property
    def value(self) -> float:
        """The main metric, a fraction in [0, 1]."""
        return self.metrics[self.main]

    @cached_property
    def parsed_budget(self) -> Budget:
        """The budget as a value, for its order and arithmetic.

        Raises:
            UsageError: the text is no budget; `read_record` refuses such a record.
        """
        return Budget.parse(self.budget)

    @cached_property
    def item_scores(self) -> np.ndarray:
        """Per-item outcomes in [0, 1], in the order of the test split."""
        return self.items["score"].unpack()

    def to_json(self) -> bytes:
        """The document as stored: sorted keys, no NaN, a newline at the end."""
        import json

        plain = adapter(Record).dump_python(self, mode="json")
        return (json.dumps(plain, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, text: bytes, *, where: str) -> Record:
        """Reads and validates a stored document.

        Raises:
            StoreError: it is cut off, not a record, or of a newer schema.
        """
        import json

        from pydantic import ValidationError

        try:
            plain = json.loads(text)
            schema = plain["schema"] if isinstance(plain, Mapping) else None
            if isinstance(schema, int) and schema > SCHEMA:
                raise StoreError(
                    f"{where} has record schema {schema}, this version reads up to {SCHEMA}",
                    hint="Upgrade distill-harness, or take the record out of the folder.",
                )
            return adapter(Record).validate_python(plain, strict=False)
        except (ValueError, KeyError, ValidationError) as error:
            reason = (
                f"{'.'.join(map(str, error.errors()[0]['loc']))}: {error.errors()[0]['msg']}"
                if isinstance(error, ValidationError)
                else str(error)
            )
            raise StoreError(
                f"{where} is not a complete record ({reason})",
                hint="Delete the file and run the same command again to compute it anew.",
            ) from error

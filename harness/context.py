"""The context of a stage: seeds, device, progress bars, caches and a folder to work in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from harness.options import has_options, options_of
from harness.randomness import derive_seed
from harness.records.curves import Curve
from harness.records.pictures import check_picture

if TYPE_CHECKING:
    import numpy as np
    import torch

T = TypeVar("T")
Arrays = Mapping[str, "np.ndarray"]


class Progress(Protocol):
    """Shows how far a long loop has come."""

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        """Yields the items while a bar with ETA advances; safe to nest."""

    def stage(self, description: str) -> AbstractContextManager[None]:
        """Names what runs inside the block."""


class SilentProgress:
    """Shows nothing: the default of the Python API."""

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        del description, total
        yield from items

    @contextmanager
    def stage(self, description: str) -> Iterator[None]:
        del description
        yield


class ArrayCache(Protocol):
    """Arrays that several stages can share, computed once."""

    def arrays(self, name: str, inputs: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
        """The arrays stored for (name, inputs), computing and storing them at first use.

        `inputs` must name everything that can change the result, in JSON values.
        """


class NoCache:
    """Computes every time: what a context outside a store uses."""

    def arrays(self, name: str, inputs: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
        del name, inputs
        return compute()


def no_students(spec: str) -> Any:
    raise LookupError(f"this context was made without a registry, so it has no student '{spec}'")


@dataclass(frozen=True)
class StageContext:
    """One stage's seed, device and services.

    seed: of this stage; derive others from it with `seed_for`.
    listed_seed: the distilling seed as the suite lists it, for what exists once for each seed;
    everything random comes from `seed`. 0 outside distilling, and for a deterministic method.
    device: a torch device string, already resolved.
    workdir: a private folder that survives a kill and is found again by the same stage.
    curves: what the stage measured at every step, by name; see `keep_curve`.
    student: another student of the plan by name, a `harness.protocols.Student`.
    pictures: PNG files by name; see `keep_picture`.
    """

    seed: int
    workdir: Path
    device: str = "cpu"
    progress: Progress = field(default_factory=SilentProgress)
    cache: ArrayCache = field(default_factory=NoCache)
    student: Callable[[str], Any] = no_students
    curves: dict[str, Curve] = field(default_factory=dict)
    listed_seed: int = 0
    pictures: dict[str, bytes] = field(default_factory=dict)

    def keep_curve(self, name: str, values: Sequence[float] | np.ndarray) -> None:
        """Puts one value for each step into the record, thinned; the last call with a name counts.

        Nothing is kept of an empty list.
        """
        if len(values):
            self.curves[name] = Curve.thin(values)

    def keep_picture(self, name: str, png: bytes) -> None:
        """Puts a picture beside the records of an evaluation or of a distilled set.

        A picture of fitting is dropped.

        Raises:
            ContractError: the name has other characters than a-z, 0-9 and -, or it is no PNG.
        """
        check_picture(name, png)
        self.pictures[name] = png

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        """Iterates with a progress bar."""
        return self.progress.track(items, description, total)

    def student_inputs(self, spec: str) -> dict[str, Any]:
        """What another student depends on besides the task, to name a cached result by."""
        student = self.student(spec)
        options = options_of(student) if has_options(type(student)) else {}
        return {"options": options, "fingerprint": student.fingerprint()}

    def seed_for(self, *names: str | int) -> int:
        """A seed for one named use, independent of every other name."""
        return derive_seed(self.seed, *names)

    def numpy_generator(self, *names: str | int) -> np.random.Generator:
        """A NumPy generator for one named use."""
        import numpy as np

        return np.random.default_rng(self.seed_for(*names))

    def torch_generator(self, *names: str | int) -> torch.Generator:
        """A CPU torch generator for one named use, so that draws agree on every device."""
        import torch

        return torch.Generator().manual_seed(self.seed_for(*names))

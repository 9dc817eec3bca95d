"""Students that are models of transformers: what a fresh one starts from, and its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from harness.errors import UsageError, unknown_name
from harness.kit.weights import Weights, named_weights
from harness.types import StudentInfo, TaskData

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from harness.context import StageContext


class Origin(Protocol):
    """Makes the same untrained model for the same context seed.

    pretrained: whether there is something in it to adapt.
    """

    pretrained: ClassVar[bool]

    def fingerprint(self) -> str: ...

    def create(
        self, task: TaskData, context: StageContext
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]: ...


class OriginStudent(ABC):
    """A student that starts from an origin; `family` is its name on a board."""

    family: ClassVar[str]

    @property
    @abstractmethod
    def origin(self) -> Origin:
        """What a fresh model starts from."""

    @property
    @abstractmethod
    def shown_variant(self) -> str:
        """The variant as it stands on a board."""

    def fingerprint(self) -> str:
        """What the initial weights are: package, version and hash, hub id and commit, ..."""
        return self.origin.fingerprint()

    def info(self, model: PreTrainedModel) -> StudentInfo:
        """What stands on a board for a model of this student."""
        parameters = sum(parameter.numel() for parameter in model.parameters())
        return StudentInfo(self.family, self.shown_variant, self.fingerprint(), parameters)


@dataclass(frozen=True)
class NamedStudent(OriginStudent):
    """A family with a fixed list of variants, each pinned to one origin.

    variant: which of them.
    """

    variant: str = "base"

    variants: ClassVar[Mapping[str, Origin]]

    def __post_init__(self) -> None:
        if self.variant not in self.variants:
            raise unknown_name(f"variant of student '{self.family}'", self.variant, self.variants)

    @property
    def origin(self) -> Origin:
        return self.variants[self.variant]

    @property
    def shown_variant(self) -> str:
        return self.variant


@dataclass(frozen=True)
class AnyPretrained(OriginStudent):
    """Any model id on the hub, or any local folder.

    model: the id or the folder; revision: branch, tag or commit of an id, resolved to a commit.
    """

    model: str = ""
    revision: str = "main"

    def __post_init__(self) -> None:
        if not self.model:
            raise UsageError(
                f"student '{self.family}' needs a model",
                hint=f"Write {self.family}:MODEL_ID or {self.family}:FOLDER.",
            )
        _ = self.weights

    @property
    def weights(self) -> Weights:
        """Raises UsageError when there is no such folder."""
        return named_weights(self.model, self.revision)

    @property
    def shown_variant(self) -> str:
        return Path(self.model).name if Path(self.model).expanduser().is_dir() else self.model

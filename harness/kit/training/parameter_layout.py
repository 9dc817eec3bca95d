"""The layout of a flat parameter vector: names, shapes and offsets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from harness.errors import UsageError
from harness.fingerprint import digest


@dataclass(frozen=True)
class Slot:
    """One parameter's place: columns `start` to `stop` of the flat vector."""

    name: str
    shape: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        return self.start + math.prod(self.shape)


@dataclass(frozen=True)
class ParameterLayout:
    """Parameters in a fixed order, each flattened row by row; P is the sum of their sizes.

    The order is explicit, so that gradients, optimiser states and directions of different sources
    meet by name and never by position.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, module: nn.Module, names: Iterable[str] | None = None) -> ParameterLayout:
        """The trainable parameters of a module, in its own order, or the named ones in theirs.

        Raises:
            UsageError: nothing is trainable, or a named parameter does not exist, is frozen, or
                is the same tensor as another one (tied weights have one place).
        """
        known = dict(module.named_parameters(remove_duplicate=False))
        if names is None:
            chosen = [name for name, p in module.named_parameters() if p.requires_grad]
        else:
            chosen = list(names)
        if not chosen:
            raise UsageError(
                "the model has no trainable parameter",
                hint="An adapter loaded for inference is frozen; load it with is_trainable=True.",
            )
        owner: dict[int, str] = {}
        for name in chosen:
            _check(name, known, owner)
        return cls(tuple(chosen), tuple(tuple(known[name].shape) for name in chosen))

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        slots, start = [], 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            slots.append(Slot(name, shape, start))
            start = slots[-1].stop
        return tuple(slots)

    @property
    def size(self) -> int:
        """P, the number of coordinates."""
        return self.slots[-1].stop

    @property
    def digest(self) -> str:
        """64 hexadecimal digits over names, shapes and order."""
        return digest([list(self.names), [list(shape) for shape in self.shapes]])

    def parameters(self, module: nn.Module) -> dict[str, nn.Parameter]:
        """The module's parameters in this order.

        Raises:
            UsageError: one is missing, frozen, or has another shape.
        """
        known = dict(module.named_parameters(remove_duplicate=False))
        owner: dict[int, str] = {}
        for name, shape in zip(self.names, self.shapes, strict=True):
            _check(name, known, owner)
            if tuple(known[name].shape) != shape:
                raise UsageError(
                    f"parameter '{name}' has shape {list(known[name].shape)}, the layout says"
                    f" {list(shape)}"
                )
        return {name: known[name] for name in self.names}

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """[P] from one tensor a parameter.

        Raises:
            UsageError: the names or a shape are not those of the layout.
        """
        missing = [name for name in self.names if name not in tensors]
        extra = sorted(set(tensors) - set(self.names))
        if missing or extra:
            raise UsageError(
                "the tensors do not fit the parameters by name:"
                f" {_some('missing', missing)}{'; ' if missing and extra else ''}"
                f"{_some('unknown', extra)}"
            )
        for name, shape in zip(self.names, self.shapes, strict=True):
            if tuple(tensors[name].shape) != shape:
                raise UsageError(
                    f"the tensor of '{name}' has shape {list(tensors[name].shape)}, the parameter"
                    f" has {list(shape)}"
                )
        return torch.cat([tensors[name].reshape(-1) for name in self.names])

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of a flat tensor [..., P], one of shape [..., *shape] for each parameter.

        By one `split`, whose gradient is put together once; each slice's would be a tensor of the
        whole size.
        """
        parts = flat.split([slot.stop - slot.start for slot in self.slots], dim=-1)
        return {
            slot.name: part.reshape(*flat.shape[:-1], *slot.shape)
            for slot, part in zip(self.slots, parts, strict=True)
        }


def _check(name: str, known: Mapping[str, nn.Parameter], owner: dict[int, str]) -> None:
    if name not in known:
        raise UsageError(f"the model has no parameter '{name}'")
    if not known[name].requires_grad:
        raise UsageError(f"parameter '{name}' is frozen, so it has no gradient")
    first = owner.setdefault(id(known[name]), name)
    if first != name:
        raise UsageError(f"'{first}' and '{name}' are one tied parameter; name it once")


def _some(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what} {', '.join(names[:3])}{more}"

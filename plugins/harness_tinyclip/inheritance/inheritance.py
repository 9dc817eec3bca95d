"""Weight inheritance, manual: leading heads and channels, a choice of layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.errors import UsageError
from harness.kit.clip.shape import ClipShape, LayerShape, TowerShape, shape_of
from harness_tinyclip.inheritance.layout import Tower
from harness_tinyclip.inheritance.selection import (
    ClipSelection,
    LayerSelection,
    TowerSelection,
    cut,
)
from harness_tinyclip.kinds import Depth

_GRID = "visual.positional_embedding"
_WORDS, _ORDER = "token_embedding.weight", "positional_embedding"


@dataclass(frozen=True)
class SharedWords:
    """Words that two vocabularies have: [k] int64 each, the same word at the same place."""

    student: Tensor
    teacher: Tensor


def inherit_weights(
    student: nn.Module,
    teacher: nn.Module,
    depth: Depth = "interval_front",
    words: SharedWords | None = None,
) -> tuple[str, ...]:
    """Copies the leading part of the teacher's weights into the student, in place.

    TinyCLIP (Wu et al. 2023, arXiv 2309.12314), manual inheritance as in its code: the first heads
    of every layer and the leading part of every other dimension, layers by `inherited_layers`.
    Equal shapes give equal weights. Where inputs differ:

    - words: only those that both vocabularies have, by `words`; None means that they are equal
    - text positions: the first ones, as many as both have
    - image positions: the teacher's grid, resized by bicubic interpolation
    - patches of another size, or one of them: not inherited

    Returns:
        The names of the parameters that kept values of the student's own, wholly or in part.

    Raises:
        UsageError: something of the student is larger than the teacher's, or heads differ in
            width, or a tower is no plain transformer.
    """
    small, large = shape_of(student), shape_of(teacher)
    selection = leading(small, large, depth)
    given = cut(dict(teacher.named_parameters()), large, selection)
    grids = (_grid(teacher), _grid(student))
    with torch.no_grad():
        return tuple(
            name
            for name, parameter in student.named_parameters()
            if name not in given or not _put(name, parameter, given[name], grids, words)
        )


def leading(small: ClipShape, large: ClipShape, depth: Depth) -> ClipSelection:
    """The leading part of a large model that has the shape of a small one.

    Raises:
        UsageError: the small one is larger somewhere, or its heads have another width.
    """
    if small.embedding > large.embedding:
        raise _too_large("an embedding width", small.embedding, large.embedding)
    return ClipSelection(
        image=_leading_tower(small.image, large.image, depth, "image"),
        text=_leading_tower(small.text, large.text, depth, "text"),
        embedding=torch.arange(small.embedding),
    )


def inherited_layers(student: int, teacher: int, depth: Depth) -> list[int]:
    """Which of the teacher's layers a student with fewer takes, in order.

    `interval_front`: every (teacher // student)-th from the first one on, so 9 of 12 are 0 to 8;
    `even`: spread over the whole depth, so 9 of 12 are 0, 1, 2, 4, 5, 6, 8, 9, 10. Both are the
    same where the student's number divides the teacher's.
    """
    if depth == "even":
        return [layer * teacher // student for layer in range(student)]
    step = teacher // student
    return [layer * step for layer in range(student)]


def _leading_tower(
    small: TowerShape, large: TowerShape, depth: Depth, tower: Tower
) -> TowerSelection:
    if small.width > large.width:
        raise _too_large(f"a width of the {tower} tower", small.width, large.width)
    if len(small.layers) > len(large.layers):
        raise _too_large(
            f"a number of layers of the {tower} tower", len(small.layers), len(large.layers)
        )
    sources = inherited_layers(len(small.layers), len(large.layers), depth) if small.layers else []
    pairs = zip(small.layers, sources, strict=True)
    layers = [_leading_layer(own, large.layers[source], source, tower) for own, source in pairs]
    return TowerSelection(torch.arange(small.width), tuple(layers))


def _leading_layer(
    small: LayerShape, large: LayerShape, source: int, tower: Tower
) -> LayerSelection:
    where = f"layer {source + 1} of the teacher's {tower} tower"
    if small.heads > large.heads:
        raise _too_large("a number of heads", small.heads, large.heads, where)
    if small.mlp > large.mlp:
        raise _too_large("a width of the feed-forward part", small.mlp, large.mlp, where)
    if small.heads and small.head_width != large.head_width:
        raise UsageError(
            f"the student's heads are {small.head_width} wide and those of {where}"
            f" {large.head_width}: heads are inherited whole",
            hint="Choose a student whose heads are as wide as the teacher's.",
        )
    return LayerSelection(source, torch.arange(small.heads), torch.arange(small.mlp))


def _too_large(what: str, student: int, teacher: int, where: str = "the teacher") -> UsageError:
    return UsageError(
        f"the student has {what} of {student}, and {where} only {teacher}",
        hint="Choose a larger teacher or a smaller student, or go without inheritance.",
    )


def _grid(model: Any) -> tuple[int, int]:
    """Rows and columns of patches."""
    rows, columns = model.visual.grid_size
    return rows, columns


def _put(
    name: str,
    parameter: Tensor,
    value: Tensor,
    grids: tuple[tuple[int, int], tuple[int, int]],
    words: SharedWords | None,
) -> bool:
    """Copies a value as far as it fits; says whether all of the parameter was given."""
    if name == _WORDS and words is not None:
        parameter[words.student] = value[words.teacher].to(parameter)
        return len(words.student) == len(parameter)
    if name == _ORDER:
        both = min(len(parameter), len(value))
        parameter[:both] = value[:both]
        return both == len(parameter)
    if name == _GRID:
        value = resized_positions(value, *grids)
    if parameter.shape != value.shape:
        return False
    parameter.copy_(value)
    return True


def resized_positions(value: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """[1 + old rows * columns, d] to [1 + new rows * columns, d]: the class token's is kept."""
    if old == new:
        return value
    first, grid = value[:1], value[1:]
    picture = grid.T.reshape(1, -1, *old)
    scaled = functional.interpolate(picture, size=new, mode="bicubic", antialias=True)
    return torch.cat([first, scaled.flatten(2)[0].T])

"""Intermediate shapes between teacher and student, and the sizes of the stages."""

from __future__ import annotations

from harness.kit.clip.shape import ClipShape, LayerShape, TowerShape
from harness_tinyclip.inheritance.inheritance import inherited_layers
from harness_tinyclip.kinds import Depth


def sizes_between(large: int, small: int, stages: int) -> list[int]:
    """What each stage ends with, in equal ratios; the last is `small`: 100 to 25 is 50, 25."""
    return [_between(large, small, (n + 1) / stages) for n in range(stages)]


def shape_between(large: ClipShape, small: ClipShape, share: float, depth: Depth) -> ClipShape:
    """Every dimension at a share of the way, in ratios; 0 is the large shape and 1 the small one.

    Heads stay as wide as the large shape's, so a tower's heads need not fill its width.
    """
    return ClipShape(
        image=_tower_between(large.image, small.image, share, depth),
        text=_tower_between(large.text, small.text, share, depth),
        embedding=_between(large.embedding, small.embedding, share),
    )


def _tower_between(large: TowerShape, small: TowerShape, share: float, depth: Depth) -> TowerShape:
    count = _between(len(large.layers), len(small.layers), share)
    layers = []
    for number, source in enumerate(inherited_layers(count, len(large.layers), depth)):
        above = large.layers[source]
        below = small.layers[number * len(small.layers) // count]
        layers.append(
            LayerShape(
                heads=_between(above.heads, below.heads, share),
                head_width=above.head_width,
                mlp=_between(above.mlp, below.mlp, share),
            )
        )
    return TowerShape(_between(large.width, small.width, share), tuple(layers))


def _between(large: int, small: int, share: float) -> int:
    return round(large * (small / large) ** share) if large else 0

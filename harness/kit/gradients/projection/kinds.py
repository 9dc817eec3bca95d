"""Projections by name."""

from __future__ import annotations

from harness.errors import unknown_name
from harness.kit.gradients.projection.hadamard import SRHT
from harness.kit.gradients.projection.identity import Identity
from harness.kit.gradients.projection.projector import Projector
from harness.kit.gradients.projection.rademacher import Rademacher
from harness.kit.gradients.projection.sparse import SparseJL

KINDS: dict[str, type[Projector]] = {
    kind.kind: kind for kind in (Identity, Rademacher, SparseJL, SRHT)
}


def new_projector(kind: str, inputs: int, outputs: int, seed: int = 0) -> Projector:
    """`none`, `rademacher`, `sparse` or `srht` from `inputs` to `outputs` numbers.

    `none` keeps all numbers, whatever `outputs` says.

    Raises:
        UsageError: an unknown kind, or sizes that it cannot have.
    """
    if kind not in KINDS:
        raise unknown_name("projection", kind, KINDS)
    return KINDS[kind](inputs, inputs if kind == Identity.kind else outputs, seed)

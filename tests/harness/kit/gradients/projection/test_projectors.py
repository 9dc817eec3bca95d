"""Every projection is linear, keeps inner products, and is one map however it is applied."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.errors import HarnessError, UsageError
from harness.kit.gradients.column_blocks import ColumnBlock
from harness.kit.gradients.projection import hadamard, rademacher, sparse
from harness.kit.gradients.projection.hadamard import SRHT
from harness.kit.gradients.projection.identity import Identity
from harness.kit.gradients.projection.kinds import KINDS, new_projector
from harness.kit.gradients.projection.projector import Projector
from harness.kit.gradients.projection.rademacher import Rademacher
from harness.kit.gradients.projection.sparse import SparseJL

INPUTS, OUTPUTS = 150, 32

RANDOM: dict[str, Projector] = {
    "rademacher": Rademacher(INPUTS, OUTPUTS),
    "sparse, 1": SparseJL(INPUTS, OUTPUTS),
    "sparse, 4": SparseJL(INPUTS, OUTPUTS, nonzeros=4),
    "srht": SRHT(INPUTS, OUTPUTS),
    "srht, wider than its inputs": SRHT(INPUTS, 300),
}
ALL = {**RANDOM, "none": Identity(INPUTS, INPUTS)}


@pytest.fixture(params=list(ALL))
def projector(request: pytest.FixtureRequest) -> Projector:
    return ALL[request.param]


@pytest.fixture(params=["whole", "small chunks"])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks as they are, where the inputs fit into one, and so small that there are many."""
    if request.param == "small chunks":
        monkeypatch.setattr(rademacher, "_BLOCK_SIGNS", 7 * OUTPUTS)
        monkeypatch.setattr(sparse, "_CHUNK", 7)
        monkeypatch.setattr(hadamard, "_LARGEST_CHUNK", 32)
        monkeypatch.setattr(hadamard, "_LARGEST_FACTOR", 4)


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def matrix(projector: Projector) -> Tensor:
    """[inputs, outputs]: what the projection does to unit vectors."""
    return projector.project(torch.eye(projector.inputs, dtype=torch.float64))


@pytest.mark.usefixtures("_chunks")
class TestOneLinearMap:
    def test_projecting_is_multiplying_with_the_images_of_unit_vectors(
        self, projector: Projector
    ) -> None:
        rows = normal(6, INPUTS)
        torch.testing.assert_close(projector.project(rows), rows @ matrix(projector))

    @settings(max_examples=15)
    @given(
        st.sampled_from(list(ALL)),
        st.lists(st.integers(1, INPUTS - 1), unique=True, max_size=9).map(sorted),
    )
    def test_blocks_of_layers_give_the_same_to_the_last_bit(
        self, name: str, edges: list[int]
    ) -> None:
        rows = normal(3, INPUTS).float()
        blocks = [ColumnBlock(a, rows[:, a:b]) for a, b in pairwise([0, *edges, INPUTS])]
        assert torch.equal(ALL[name].project_blocks(blocks), ALL[name].project(rows))

    def test_layers_projected_alone_sum_to_the_whole(self, projector: Projector) -> None:
        rows = normal(3, INPUTS)
        parts = []
        for start, stop in pairwise([0, 1, 40, 97, INPUTS]):
            alone = torch.zeros_like(rows)
            alone[:, start:stop] = rows[:, start:stop]
            parts.append(projector.project(alone))
        torch.testing.assert_close(torch.stack(parts).sum(0), projector.project(rows))

    def test_the_batch_of_a_row_does_not_matter(self, projector: Projector) -> None:
        rows = normal(9, INPUTS)
        alone = torch.cat([projector.project(row.unsqueeze(0)) for row in rows])
        torch.testing.assert_close(alone, projector.project(rows), rtol=1e-12, atol=1e-12)

    def test_single_and_double_precision_are_the_same_map(self, projector: Projector) -> None:
        rows = normal(3, INPUTS)
        single = projector.project(rows.float())
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), projector.project(rows), rtol=0, atol=2e-5)

    def test_equal_seed_and_sizes_are_one_map_and_others_another(
        self, projector: Projector
    ) -> None:
        if projector.kind == "none":
            return
        first = matrix(projector)
        assert torch.equal(matrix(replace(projector)), first)
        reseeded = matrix(replace(projector, seed=1))
        assert not torch.equal(reseeded, first)
        assert abs(float((reseeded * first).sum() / first.square().sum())) < 0.2
        longer = matrix(replace(projector, inputs=INPUTS + 1))[:INPUTS]
        assert not torch.equal(longer, first)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("name", RANDOM)
class TestKeepsInnerProducts:
    SEEDS = 400

    def test_on_average_over_seeds(self, name: str) -> None:
        """Within 4.5 standard errors, for like, unlike, opposite and sparse vectors."""
        base = normal(2, INPUTS, seed=1)
        unit = torch.zeros(2, INPUTS, dtype=torch.float64)
        unit[0, 3], unit[1, 3 + 64] = 2.0, 1.0
        rows = torch.cat([base, (base[:1] + 0.3 * base[1:]), -base[:1], unit, unit.sum(0)[None]])
        exact = rows @ rows.T
        found = []
        for seed in range(self.SEEDS):
            features = replace(RANDOM[name], seed=seed).project(rows)
            found.append(features @ features.T)
        samples = torch.stack(found)
        error = samples.std(0) / math.sqrt(self.SEEDS)
        assert bool(((samples.mean(0) - exact).abs() <= 4.5 * error + 1e-9).all())

    def test_cosines_within_the_error_of_their_dimension(self, name: str) -> None:
        """Root mean square error at most 1.3 / sqrt(outputs) for pairs of long random rows."""
        rows = torch.nn.functional.normalize(normal(40, INPUTS, seed=2), dim=1)
        errors = []
        for seed in range(10):
            projector = replace(RANDOM[name], seed=seed)
            features = torch.nn.functional.normalize(projector.project(rows), dim=1)
            difference = features @ features.T - rows @ rows.T
            errors.append(difference[~torch.eye(40, dtype=torch.bool)])
        rms = float(torch.cat(errors).square().mean().sqrt())
        assert rms < 1.3 / math.sqrt(RANDOM[name].outputs)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("shape", ["constant", "alternating", "one of all"])
def test_no_special_vector_loses_its_length(name: str, shape: str) -> None:
    """Variance of the squared length at most twice the 2 / outputs of random signs.

    Constant and alternating rows are rows of a Hadamard matrix: unsigned, they would fall on one
    coordinate that is mostly not kept.
    """
    row = torch.zeros(1, INPUTS, dtype=torch.float64)
    steps = torch.arange(INPUTS)
    row[0] = {"constant": steps >= 0, "alternating": 1 - 2 * (steps % 2), "one of all": steps == 5}[
        shape
    ]
    row /= row.norm()
    lengths = [replace(RANDOM[name], seed=s).project(row).square().sum() for s in range(200)]
    variance = float((torch.stack(lengths) - 1).square().mean())
    assert variance < 2 * 2 / RANDOM[name].outputs


class TestByName:
    @pytest.mark.parametrize("kind", KINDS)
    def test_each_kind_is_made_with_its_sizes_and_seed(self, kind: str) -> None:
        made = new_projector(kind, 50, 10, seed=3)
        kept = 50 if kind == "none" else 10
        assert made.project(normal(2, 50)).shape == (2, kept)
        assert made.manifest().items() >= {
            "kind": kind, "seed": 3, "inputs": 50, "outputs": kept
        }.items()  # fmt: skip

    def test_an_unknown_kind_is_answered_with_the_known_ones(self) -> None:
        with pytest.raises(UsageError, match="projection 'rademache'") as error:
            new_projector("rademache", 50, 10)
        assert "rademacher" in error.value.hint


class TestRefuses:
    def test_sizes_that_make_no_sense(self) -> None:
        with pytest.raises(UsageError, match="0 to 3"):
            Rademacher(0, 3)
        with pytest.raises(UsageError, match=r"3 non-zeros .* 10 outputs"):
            SparseJL(5, 10, nonzeros=3)
        with pytest.raises(UsageError, match="not 4"):
            Identity(5, 4)

    def test_rows_of_another_width(self, projector: Projector) -> None:
        for width in (INPUTS - 1, INPUTS + 1):
            with pytest.raises(HarnessError, match=f"{INPUTS}"):
                projector.project(normal(2, width))

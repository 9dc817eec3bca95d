"""The matrices behind the projections, entry by entry, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from harness.kit.gradients.projection import hadamard
from harness.kit.gradients.projection.hadamard import SRHT, walsh_hadamard
from harness.kit.gradients.projection.projector import Projector
from harness.kit.gradients.projection.rademacher import Rademacher
from harness.kit.gradients.projection.sparse import SparseJL


def matrix(projector: Projector) -> np.ndarray:
    """[inputs, outputs]."""
    return projector.project(torch.eye(projector.inputs, dtype=torch.float64)).numpy()


class TestRademacher:
    @pytest.mark.parametrize("outputs", [1, 63, 64, 65, 200])
    def test_entries_are_fair_signs_over_the_root_of_the_outputs(self, outputs: int) -> None:
        entries = matrix(Rademacher(300, outputs)) * np.sqrt(outputs)
        np.testing.assert_allclose(np.abs(entries), 1.0)
        assert abs(entries.mean()) < 4.5 / np.sqrt(entries.size)

    def test_rows_and_columns_are_unrelated(self) -> None:
        entries = matrix(Rademacher(400, 256)) * 16
        for square in (entries.T @ entries / 400, entries @ entries.T / 256):
            off = square[~np.eye(len(square), dtype=bool)]
            assert np.abs(off).max() < 6 / 16
            assert off.std() == pytest.approx(1 / np.sqrt(entries.size / len(square)), rel=0.1)

    @given(st.integers(0, 10**9), st.integers(1, 30), st.integers(1, 130))
    def test_signs_do_not_depend_on_where_a_block_begins(
        self, start: int, count: int, outputs: int
    ) -> None:
        projector = Rademacher(2 * 10**9, outputs)
        together = projector.signs(start, start + count)
        last = projector.signs(start + count - 1, start + count)
        assert torch.equal(together[-1:], last)


class TestSparse:
    @pytest.mark.parametrize("nonzeros", [1, 2, 8])
    def test_an_input_has_one_entry_in_each_part_of_the_outputs(self, nonzeros: int) -> None:
        entries = matrix(SparseJL(500, 64, nonzeros=nonzeros)).reshape(500, nonzeros, -1)
        assert ((entries != 0).sum(2) == 1).all()
        np.testing.assert_allclose(np.abs(entries).sum(2), 1 / np.sqrt(nonzeros))

    def test_places_and_signs_are_fair(self) -> None:
        places, signs = SparseJL(50_000, 48).places(0, 50_000, "cpu")
        assert chisquare(np.bincount(places[:, 0], minlength=48)).pvalue > 1e-4
        assert abs(signs.double().mean()) < 4.5 / np.sqrt(50_000)


class TestSRHT:
    @pytest.mark.parametrize("width", [1, 2, 8, 64, 256, 512, 2048])
    def test_the_transform_is_scipys_hadamard_matrix(self, width: int) -> None:
        rows = torch.randn(3, width, dtype=torch.float64)
        expected = rows.numpy() @ scipy.linalg.hadamard(width)
        np.testing.assert_allclose(walsh_hadamard(rows).numpy(), expected, atol=1e-10)

    @pytest.mark.parametrize("factor", [2, 4, 16])
    def test_however_the_transform_is_folded(
        self, factor: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hadamard, "_LARGEST_FACTOR", factor)
        rows = torch.randn(3, 32, dtype=torch.float64)
        expected = rows.numpy() @ scipy.linalg.hadamard(32)
        np.testing.assert_allclose(walsh_hadamard(rows).numpy(), expected, atol=1e-10)

    @pytest.mark.parametrize(("inputs", "outputs"), [(64, 64), (50, 16), (5, 12), (200, 7)])
    def test_one_chunk_is_signs_times_rows_of_hadamard(self, inputs: int, outputs: int) -> None:
        projector = SRHT(inputs, outputs)
        kept = projector.sampled().numpy()
        assert len(set(kept)) == outputs
        columns = scipy.linalg.hadamard(projector.chunk)[:inputs, kept]
        ratio = matrix(projector) * np.sqrt(outputs) / columns
        np.testing.assert_allclose(np.abs(ratio), 1.0)
        # The sign of an input and the sign of an output make every entry's sign: rank one.
        np.testing.assert_allclose(ratio, np.outer(ratio[:, 0], ratio[0]) * ratio[0, 0])

    def test_equal_places_of_two_chunks_do_not_fall_on_one_another(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hadamard, "_LARGEST_CHUNK", 32)
        entries = matrix(SRHT(320, 32)).reshape(10, 32, 32)
        for place in range(32):
            cosines = entries[:, place] @ entries[:, place].T
            assert np.abs(cosines[~np.eye(10, dtype=bool)]).max() < 0.95

    def test_a_full_square_transform_keeps_lengths_exactly(self) -> None:
        entries = matrix(SRHT(64, 64))
        np.testing.assert_allclose(entries @ entries.T, np.eye(64), atol=1e-12)

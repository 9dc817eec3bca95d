"""Contextual calibration against the paper's own formula, written out."""

from __future__ import annotations

import numpy as np

from harness_frozen.calibration import CONTENT_FREE, calibrated


def test_is_the_papers_affine_map_normalised() -> None:
    """Zhao et al. 2021, section 5: W = diag(p_cf)^-1, b = 0, p_cf the mean over the inputs."""
    assert CONTENT_FREE == ("N/A", "[MASK]", "")
    rng = np.random.default_rng(0)
    p, free = rng.dirichlet(np.ones(3), 5), rng.dirichlet(np.ones(3), 3)
    w = np.diag(1 / ((free[0] + free[1] + free[2]) / 3))
    expected = np.stack([w @ row / (w @ row).sum() for row in p])
    np.testing.assert_allclose(calibrated(p, free), expected, rtol=1e-12)


def test_a_text_that_says_nothing_becomes_undecided() -> None:
    free = np.array([[0.9, 0.1]])
    np.testing.assert_allclose(calibrated(free, free), [[0.5, 0.5]])

"""Contextual calibration (Zhao et al. 2021, arXiv 2102.09690): a prompt's own bias divided out."""

from __future__ import annotations

import numpy as np

CONTENT_FREE = ("N/A", "[MASK]", "")
"""Texts that say nothing, as in the paper (section 5)."""


def calibrated(probabilities: np.ndarray, content_free: np.ndarray) -> np.ndarray:
    """Probabilities divided by their mean for texts that say nothing, and normalised again.

    This is the paper's q = W p + b with W = diag(p_cf)^-1 and b = 0, and in place of its softmax,
    which has the same order, the division by the sum.

    Args:
        probabilities: [n, classes], positive.
        content_free: [k, classes] of the texts that say nothing.
    """
    weighted = probabilities / content_free.mean(axis=0)
    return weighted / weighted.sum(axis=1, keepdims=True)

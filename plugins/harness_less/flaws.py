"""Flaws of rows that cannot be scored: unreadable, not finite, zero."""

from __future__ import annotations

FINE = 0
UNREADABLE = 1
"""No token to learn from within the length."""
NOT_FINITE = 2
"""The gradient or the feature has NaN or infinity."""
ZERO = 3
"""The gradient, or the feature, is zero throughout."""
LEFT_OUT = 4
"""No flaw: the option `pool` leaves the row out."""

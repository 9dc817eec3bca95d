"""Option values of contrastive methods: matchers, schedules, negatives; need no torch."""

from __future__ import annotations

from typing import Literal

MatcherName = Literal["hungarian", "k-to-1", "max", "sinkhorn"]
Rise = Literal["linear", "cosine", "constant"]
Negatives = Literal["uniform", "similarity"]

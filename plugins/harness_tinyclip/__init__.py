"""TinyCLIP: a smaller CLIP that inherits its teacher's weights and mimics its affinities."""

from __future__ import annotations

HARNESS_API = 1

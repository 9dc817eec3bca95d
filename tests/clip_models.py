"""Small CLIP models with random weights, and coloured squares with captions for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from harness.kit.clip.image_rows import ImageInput, ImageTextRows
from harness.kit.clip.model import ClipModel, build_clip
from harness.kit.clip.tokens import WordTokenizer
from harness.randomness import seeded
from harness.types import StudentInfo

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 220), "grey": (120,) * 3}
WORDS = ("a", "square", "of", "number", *COLOURS, *"0123456789")


def tiny_clip(
    *,
    seed: int = 0,
    width: int = 16,
    layers: int = 2,
    embed_dim: int = 8,
    size: int = 8,
    bias: float | None = None,
    vision: dict[str, Any] | None = None,
    text: dict[str, Any] | None = None,
) -> ClipModel:
    """A vision transformer of 8-pixel images and a text tower of 10 tokens; heads of width 8."""
    context_length = (text or {}).get("context_length", 10)
    tokenizer = WordTokenizer(WORDS, context_length=context_length)
    vision_cfg = {
        "image_size": size, "patch_size": 4, "width": width, "layers": layers, "head_width": 8,
        **(vision or {}),
    }  # fmt: skip
    text_cfg = {
        "context_length": context_length, "vocab_size": tokenizer.vocabulary_size, "width": width,
        "heads": width // 8, "layers": layers, **(text or {}),
    }  # fmt: skip
    config: dict[str, Any] = {
        "embed_dim": embed_dim, "vision_cfg": vision_cfg, "text_cfg": text_cfg
    }  # fmt: skip
    if bias is not None:
        config["init_logit_bias"] = bias
    with seeded(seed):
        model = build_clip(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    info = StudentInfo("clip", "test", "random", parameters)
    image = ImageInput((vision_cfg["image_size"],) * 2)
    return ClipModel(model, tokenizer, image, config, info, torch.device("cpu"))


def coloured_rows(rows: int = 24, size: int = 8, seed: int = 0) -> ImageTextRows:
    """Noisy squares of four colours in turn, captioned with colour and number."""
    generator = np.random.default_rng(seed)
    names = list(COLOURS)
    chosen = [names[n % len(names)] for n in range(rows)]
    images = np.empty((rows, size, size, 3), dtype=np.uint8)
    for image, name in zip(images, chosen, strict=True):
        noise = generator.normal(0, 12, (size, size, 3))
        image[:] = np.clip(np.array(COLOURS[name]) + noise, 0, 255)
    captions = tuple(f"a {name} square of number {n}" for n, name in enumerate(chosen))
    return ImageTextRows(images, captions)

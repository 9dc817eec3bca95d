"""Model configurations of open_clip by variant: a small one, a named one, or a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import UsageError, did_you_mean

STANDARD_VOCABULARY = 49408
"""Entries of the byte-pair vocabulary that open_clip bundles."""
WORDS = 4096
CONTEXT = 24


@dataclass(frozen=True)
class ClipConfiguration:
    """The arguments that open_clip builds a model from.

    name: as it stands on a board; known_as: how open_clip's checkpoints know it, or empty.
    """

    name: str
    model: Mapping[str, Any]
    known_as: str = ""

    @property
    def own_words(self) -> bool:
        """Whether the text tower has a vocabulary of the task's words instead of the standard."""
        return int(self.model["text_cfg"].get("vocab_size", STANDARD_VOCABULARY)) != (
            STANDARD_VOCABULARY
        )

    def with_vocabulary(self, size: int) -> dict[str, Any]:
        """The arguments with a vocabulary of another size."""
        made = deepcopy(dict(self.model))
        made["text_cfg"]["vocab_size"] = size
        return made


def _small(width: int, layers: int, embed_dim: int, text_layers: int) -> dict[str, Any]:
    """Images of 32 pixels in patches of 8, heads of width 32, texts of 24 tokens.

    All small models differ in width and depth alone, so that one can inherit from another.
    """
    return {
        "embed_dim": embed_dim,
        "vision_cfg": {
            "image_size": 32, "patch_size": 8, "width": width, "layers": layers, "head_width": 32,
        },
        "text_cfg": {
            "context_length": CONTEXT, "vocab_size": WORDS, "width": width, "heads": width // 32,
            "layers": text_layers,
        },
    }  # fmt: skip


SMALL: Mapping[str, Mapping[str, Any]] = {
    "tiny": _small(64, 2, 64, 2),
    "small": _small(128, 4, 128, 3),
    "base32": _small(256, 6, 256, 4),
}


def find_configuration(variant: str) -> ClipConfiguration:
    """The small model, open_clip's configuration or the JSON file that `variant` names.

    open_clip's names may be written in any case, `vit-b-32` for `ViT-B-32`.

    Raises:
        UsageError: there is none, or the file or what it asks for cannot be used.
    """
    if variant in SMALL:
        return ClipConfiguration(variant, SMALL[variant])
    if variant.endswith(".json"):
        return _from_file(Path(variant).expanduser())
    known = _open_clip_names()
    name = known.get(variant.lower().replace("/", "-"))
    if name is None:
        raise UsageError(
            f"unknown variant of student 'clip' '{variant}'",
            hint=f"{did_you_mean(variant.lower(), [*SMALL, *known])}\nOr name a JSON file of an"
            " open_clip configuration.",
        )
    return _checked(ClipConfiguration(name.lower(), _open_clip_configuration(name), name), variant)


def _from_file(path: Path) -> ClipConfiguration:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no configuration '{path}'") from None
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"the configuration '{path}' cannot be read: {reason}") from error
    model = stored.get("model_cfg", stored) if isinstance(stored, dict) else {}
    if not isinstance(model, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= set(model):
        raise UsageError(
            f"the configuration '{path}' lacks embed_dim, vision_cfg or text_cfg",
            hint="It should be written as open_clip's own model configurations are.",
        )
    return _checked(ClipConfiguration(path.stem, model), str(path))


def _checked(configuration: ClipConfiguration, variant: str) -> ClipConfiguration:
    """Refuses models that need what is fetched from elsewhere, or that caption images."""
    text = configuration.model["text_cfg"]
    foreign = [name for name in ("hf_model_name", "hf_tokenizer_name") if text.get(name)]
    if foreign or "multimodal_cfg" in configuration.model or "siglip" in variant.lower():
        what = foreign[0] if foreign else "a tower or tokenizer"
        raise UsageError(
            f"the configuration '{variant}' needs {what} that open_clip does not bundle",
            hint="Take one with open_clip's own text tower and vocabulary, such as vit-b-32.",
        )
    return configuration


@cache
def _open_clip_names() -> dict[str, str]:
    from open_clip import list_models

    return {name.lower(): name for name in list_models()}


def _open_clip_configuration(name: str) -> dict[str, Any]:
    from open_clip.factory import get_model_config

    return get_model_config(name)

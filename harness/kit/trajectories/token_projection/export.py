"""Distilled prompts in a folder: text for any model, ids and embeddings for the one they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.array_files import serialised
from harness.errors import UsageError
from harness.kit.files import manifest_file
from harness.kit.trajectories.token_projection.round_trip import TokenPrompts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_FORMAT = 1
_WHAT = "export of prompts"
_ROWS = "prompts.jsonl"
_EMBEDDINGS = "embeddings.safetensors"


@dataclass(frozen=True)
class ExportedPrompts:
    """embeddings: [length, d] float32 of each prompt; inner_rate: the learned step size, without
    which training on the embeddings does not repeat what was distilled.

    texts: rows as any model reads them, such as `prompt` and `completion`.
    """

    prompts: TokenPrompts
    embeddings: tuple[np.ndarray, ...]
    texts: tuple[Mapping[str, str], ...]
    inner_rate: float

    def __post_init__(self) -> None:
        counts = (len(self.prompts.ids), len(self.embeddings), len(self.texts))
        if len(set(counts)) > 1:
            raise UsageError(f"{counts[0]} prompts, {counts[1]} embeddings and {counts[2]} texts")
        for row, (ids, vectors) in enumerate(zip(self.prompts.ids, self.embeddings, strict=True)):
            if vectors.ndim != 2 or len(vectors) != len(ids):
                raise UsageError(
                    f"prompt {row} has {len(ids)} ids and embeddings of {list(vectors.shape)}"
                )


def export_prompts(folder: Path, exported: ExportedPrompts) -> None:
    """Writes `prompts.jsonl`, `embeddings.safetensors` and, last, `manifest.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _ROWS).open("w", encoding="utf-8") as file:
        for text, ids in zip(exported.texts, exported.prompts.ids, strict=True):
            file.write(json.dumps({**text, "ids": ids.tolist()}, ensure_ascii=False) + "\n")
    arrays = {
        str(row): np.asarray(vectors, dtype=np.float32)
        for row, vectors in enumerate(exported.embeddings)
    }
    (folder / _EMBEDDINGS).write_bytes(serialised(arrays))
    fields = {"tokenizer": exported.prompts.tokenizer, "inner_rate": exported.inner_rate}
    manifest_file.write_fields(folder, _FORMAT, fields)


def read_export(folder: Path, tokenizer: PreTrainedTokenizerFast) -> ExportedPrompts:
    """An export, for the model whose tokenizer it is of.

    Raises:
        UsageError: there is none, or its ids belong to another tokenizer; take `read_texts`.
        HarnessError: it is damaged.
    """
    from safetensors.numpy import load_file

    fields = manifest_file.read_fields(folder, _FORMAT, _WHAT)
    rows = _rows(folder)
    ids = tuple(np.array(row["ids"], dtype=np.int64) for row in rows)
    prompts = TokenPrompts(ids, str(fields["tokenizer"]))
    prompts.require(tokenizer)
    arrays = load_file(folder / _EMBEDDINGS)
    vectors = tuple(arrays[str(row)] for row in range(len(rows)))
    return ExportedPrompts(prompts, vectors, tuple(read_texts(folder)), float(fields["inner_rate"]))


def read_texts(folder: Path) -> list[dict[str, str]]:
    """The rows as text, for any model.

    Raises:
        UsageError: there is no export.
        HarnessError: it is damaged.
    """
    manifest_file.read_fields(folder, _FORMAT, _WHAT)
    return [{n: value for n, value in row.items() if n != "ids"} for row in _rows(folder)]


def _rows(folder: Path) -> list[dict[str, Any]]:
    try:
        lines = (folder / _ROWS).read_text(encoding="utf-8").split("\n")[:-1]
        return [dict(json.loads(line)) for line in lines]
    except (FileNotFoundError, ValueError) as error:
        raise manifest_file.damaged(folder, _WHAT, f"{_ROWS} cannot be read") from error

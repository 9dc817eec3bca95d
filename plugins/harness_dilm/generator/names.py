"""Names of generators: a student, `gpt2`, `gpt2:tiny`, a folder, or a pinned hub id."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from harness.errors import UsageError

GPT2 = "openai-community/gpt2@607a30d783dfa663caf39e06633721c8d4cfcd7e"
TINY = "gpt2:tiny"
_PINNED = re.compile(r"[^/@]+/[^/@]+@.+")


def names_student(generator: str) -> bool:
    """Whether it is neither a name of this plugin's own, nor a folder, nor a pinned hub id."""
    own = generator in ("gpt2", TINY) or Path(generator).expanduser().is_dir()
    return not own and not _PINNED.fullmatch(generator)


def fingerprint(generator: str) -> str:
    """What the generator's initial weights are: a pinned hub id, or the hash of a folder.

    A student's are told by the student.

    Raises:
        UsageError: a folder without safetensors weights.
    """
    if generator == TINY or names_student(generator):
        return generator
    folder, hub_id, revision = locate(generator)
    return f"sha256:{_folder_hash(folder)}" if folder else f"{hub_id}@{revision}"


def locate(generator: str) -> tuple[Path | None, str, str]:
    """(folder, "", "main") of a local model, or (None, hub id, revision) of a pinned one.

    Raises:
        UsageError: a folder without safetensors weights.
    """
    folder = Path(generator).expanduser()
    if folder.is_dir():
        if not any(folder.glob("*.safetensors")):
            raise UsageError(f"generator folder '{generator}' holds no .safetensors weights")
        return folder, "", "main"
    hub_id, _, revision = (GPT2 if generator == "gpt2" else generator).partition("@")
    return None, hub_id, revision


def _folder_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".json", ".safetensors"}):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()

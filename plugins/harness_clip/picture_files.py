"""Readers of images with captions: folders, and tar files in the WebDataset format."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from harness.data.images import decode_image
from harness.data.row_files import read_rows
from harness.errors import HarnessError, UsageError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
CAPTION_KEYS = ("caption", "text")
_METADATA = ("metadata.jsonl", "metadata.csv")


@dataclass
class Pictures:
    """Images in a fixed order; captions and classes are empty where there are none."""

    names: list[str] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)

    def add(self, name: str, image: bytes, caption: str, own_class: str) -> None:
        """One more image, which must be one.

        Raises:
            HarnessError: it cannot be read.
        """
        decode_image(image, f"'{name}'")
        self.names.append(name)
        self.images.append(image)
        self.captions.append(caption)
        self.classes.append(own_class)


def read_folder(folder: Path, *, classes: bool) -> Pictures:
    """All images below a folder, by path.

    Raises:
        UsageError: no such folder, no image in it, or a caption for a file that is not there.
        HarnessError: an image or a caption file is damaged; names it.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder '{folder}'")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
    if not files:
        raise UsageError(f"there is no image in '{folder}'", hint=f"Known: {', '.join(ENDINGS)}.")
    captions = _folder_captions(folder)
    absent = sorted(set(captions) - {p.relative_to(folder).as_posix() for p in files})
    if absent:
        raise UsageError(f"'{folder.name}' has a caption for '{absent[0]}', which is not there")
    pictures = Pictures()
    for path in files:
        name = path.relative_to(folder).as_posix()
        caption = captions.get(name)
        if caption is None:
            beside = path.with_suffix(".txt")
            caption = _text(beside.read_bytes(), beside.name) if beside.is_file() else ""
        own = path.parent.name if classes and path.parent != folder else ""
        pictures.add(name, path.read_bytes(), caption, own)
    return pictures


def read_tars(path: Path) -> Pictures:
    """The samples of a tar file, or of all in a folder, in their order.

    Raises:
        UsageError: no such file, or no sample in it.
        HarnessError: a file is damaged, or a sample has no image; names it.
    """
    files = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise UsageError(f"there is no tar file '{path}'")
    pictures = Pictures()
    for file in files:
        for name, parts in _samples(file):
            image = next((content for end, content in parts.items() if end in ENDINGS), None)
            if image is None:
                raise HarnessError(
                    f"sample '{name}' of '{file.name}' has no image",
                    hint=f"Known: {', '.join(ENDINGS)}.",
                )
            caption, own = _sample_texts(parts, f"{file.name}/{name}")
            pictures.add(f"{file.name}/{name}", image, caption, own)
    if not pictures.names:
        raise UsageError(f"there is no sample in '{path}'")
    return pictures


def _samples(file: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Names of samples with their parts by ending; parts of a sample follow one another."""
    name = ""
    parts: dict[str, bytes] = {}
    try:
        with tarfile.open(file) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is None or PurePosixPath(member.name).name.startswith("."):
                    continue
                stem, _, ending = member.name.rpartition("/")[2].partition(".")
                key = f"{member.name.rpartition('/')[0]}/{stem}".lstrip("/")
                if parts and key != name:
                    yield name, parts
                    parts = {}
                name = key
                parts[f".{ending.lower()}"] = content.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise HarnessError(f"'{file.name}' is damaged or no tar file: {error}") from error
    if parts:
        yield name, parts


def _sample_texts(parts: dict[str, bytes], where: str) -> tuple[str, str]:
    """Caption and class of a sample, empty where it has none."""
    own = _text(parts[".cls"], f"{where}.cls") if ".cls" in parts else ""
    if ".txt" in parts:
        return _text(parts[".txt"], f"{where}.txt"), own
    if ".json" not in parts:
        return "", own
    try:
        stored = json.loads(parts[".json"])
    except ValueError as error:
        raise HarnessError(f"'{where}.json' is not JSON: {error}") from error
    return _caption_of(stored if isinstance(stored, dict) else {}), own


def _folder_captions(folder: Path) -> dict[str, str]:
    for name in _METADATA:
        if (folder / name).is_file():
            table = read_rows(folder / name)
            column = next((key for key in CAPTION_KEYS if key in table.column_names), "")
            if "file_name" not in table.column_names or not column:
                raise UsageError(
                    f"'{name}' lacks the column file_name, or caption",
                    hint=f"Its columns: {', '.join(table.column_names)}.",
                )
            pairs = zip(table["file_name"][:], table[column][:], strict=True)
            return {file: caption or "" for file, caption in pairs}
    return {}


def _caption_of(stored: dict[str, Any]) -> str:
    found = next((stored[key] for key in CAPTION_KEYS if isinstance(stored.get(key), str)), "")
    return found.strip()


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise HarnessError(f"'{name}' is not UTF-8 text: {error}") from error

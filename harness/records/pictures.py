"""Pictures that distilling and evaluating leave beside a record: PNGs in `pictures/KEY/`."""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import ContractError

PICTURES = "pictures"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_PNG = b"\x89PNG\r\n\x1a\n"


def check_picture(name: str, content: bytes) -> None:
    """A picture's name can be a file's, and it is a PNG.

    Raises:
        ContractError: one of them does not hold.
    """
    expected, got = "", ""
    if not _NAME.fullmatch(name):
        expected, got = "a name of a-z, 0-9 and -", repr(name)
    elif not content.startswith(_PNG):
        expected, got = "a PNG file", f"{len(content)} other bytes"
    if expected:
        raise ContractError(plugin="the stage", field="a picture", expected=expected, got=got)


def found_pictures(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Record key -> its pictures by name, in a results folder; links are left alone."""
    area = folder / PICTURES
    if not area.is_dir():
        return {}
    found = {
        own.name: tuple(
            path
            for path in sorted(own.glob("*.png"))
            if _NAME.fullmatch(path.stem) and path.is_file() and not path.is_symlink()
        )
        for own in sorted(area.iterdir())
        if not own.name.endswith(".partial") and own.is_dir() and not own.is_symlink()
    }
    return {key: paths for key, paths in found.items() if paths}

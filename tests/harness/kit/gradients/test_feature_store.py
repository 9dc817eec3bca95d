"""Rows come back as they were written, after any crash, and never beside rows of another kind."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.errors import HarnessError, UsageError
from harness.kit.gradients.feature_manifest import FeatureManifest
from harness.kit.gradients.feature_store import FeatureStore

WIDTH = 5
MANIFEST = FeatureManifest(
    model="m",
    template="t",
    checkpoint="step 3",
    layout="l",
    data="d",
    feature="adam",
    projector={"kind": "sparse", "seed": 0, "inputs": 90, "outputs": WIDTH, "nonzeros": 1},
    rows=7,
)


def values(rows: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)


def filled(folder: Path, content: np.ndarray, **changes: Any) -> FeatureStore:
    store = FeatureStore.open(folder, replace(MANIFEST, rows=len(content), **changes))
    store.write(range(len(content)), content)
    return store


class TestReadingBack:
    def test_rows_written_in_any_order_are_a_memory_map(self, tmp_path: Path) -> None:
        store = FeatureStore.open(tmp_path, MANIFEST)
        content = values()
        for rows in ([5, 2], [0], [6, 1, 3, 4]):
            store.write(rows, content[rows])
        for found in (store, FeatureStore.read(tmp_path)):
            assert isinstance(found.features, np.memmap)
            assert not found.features.flags.writeable
            np.testing.assert_array_equal(found.features, content)
            np.testing.assert_array_equal(found.values(2, 6), content[2:6])
            assert (found.scales == 1).all()
            found.verify()

    @given(
        arrays.arrays(
            np.float32,
            (3, WIDTH),
            elements=st.floats(-(2.0**127), 2.0**127, width=32, allow_subnormal=False),
        )
    )
    def test_float16_keeps_every_row_to_its_precision_at_any_size(
        self, tmp_path_factory: pytest.TempPathFactory, content: np.ndarray
    ) -> None:
        store = filled(tmp_path_factory.mktemp("store"), content, dtype="float16")
        assert store.features.dtype == np.float16
        largest = np.abs(content).max(axis=1, keepdims=True).astype(np.float64)
        errors = np.abs(store.values(0, 3).astype(np.float64) - content)
        assert (errors <= largest * 2.0**-11).all()

    def test_the_file_is_plain_rows_after_one_another(self, tmp_path: Path) -> None:
        filled(tmp_path, values())
        raw = np.fromfile(tmp_path / "features.bin", "<f4").reshape(7, WIDTH)
        np.testing.assert_array_equal(raw, values())

    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    def test_rows_without_a_direction_are_reported(self, tmp_path: Path, dtype: str) -> None:
        content = values()
        content[1, 3], content[4, 0] = np.nan, -np.inf
        content[2] = 0
        store = FeatureStore.open(tmp_path, replace(MANIFEST, dtype=dtype))
        store.write([4, 5, 6], content[4:])
        store.write([0, 1, 2, 3], content[:4])
        for found in (store, FeatureStore.read(tmp_path)):
            assert found.not_finite == [1, 4]
            assert found.zero == [2]
            assert np.isnan(found.features[1, 3])
            found.verify()

    def test_what_overflows_on_disk_is_reported_too(self, tmp_path: Path) -> None:
        store = filled(tmp_path, np.full((1, WIDTH), 1e300))
        assert store.not_finite == [0]


class TestResuming:
    def test_only_the_missing_rows_are_asked_for(self, tmp_path: Path) -> None:
        FeatureStore.open(tmp_path, MANIFEST).write([3, 0], values()[[3, 0]])
        store = FeatureStore.open(tmp_path, MANIFEST)
        assert store.missing.tolist() == [1, 2, 4, 5, 6]
        with pytest.raises(HarnessError, match="lacks 5 of 7 rows, the first is row 1"):
            _ = store.features
        store.write(store.missing, values()[store.missing])
        np.testing.assert_array_equal(store.features, values())

    def test_a_torn_last_entry_counts_for_nothing(self, tmp_path: Path) -> None:
        store = FeatureStore.open(tmp_path, MANIFEST)
        store.write([0, 1], values()[:2])
        store.write([2, 3], values()[2:4])
        journal = tmp_path / "done.jsonl"
        journal.write_bytes(journal.read_bytes()[:-9])
        assert FeatureStore.read(tmp_path).missing.tolist() == [2, 3, 4, 5, 6]
        again = FeatureStore.open(tmp_path, MANIFEST)
        again.write(again.missing, values()[again.missing])
        FeatureStore.read(tmp_path).verify()

    @pytest.mark.parametrize("syncs", range(1, 14))
    def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(
        self, tmp_path: Path, syncs: int
    ) -> None:
        """The process dies with SIGKILL at its n-th sync, before the sync or after it."""
        script = f"""
import os, signal, sys
import numpy as np
from pathlib import Path
from harness.kit.gradients import feature_store as module
sync, count = os.fsync, 0
def dying(descriptor):
    global count
    count += 1
    if count == {syncs}:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(descriptor)
module.os.fsync = dying
manifest = module.FeatureManifest(**{vars(MANIFEST)!r})
content = np.load(sys.argv[1])
store = module.FeatureStore.open(Path(sys.argv[2]), manifest)
for start in (0, 3, 6):
    rows = range(start, min(start + 3, 7))
    store.write(rows, content[start : start + 3])
"""
        np.save(tmp_path / "content.npy", values())
        folder = tmp_path / "store"
        command = [sys.executable, "-c", script, str(tmp_path / "content.npy"), str(folder)]
        assert subprocess.run(command, check=False).returncode == -9
        store = FeatureStore.open(folder, MANIFEST)
        for row in store.missing:
            store.write([row], values()[[row]])
        store.verify()
        undisturbed = filled(tmp_path / "other", values())
        assert store.features.tobytes() == undisturbed.features.tobytes()

    def test_a_folder_without_a_manifest_is_begun_anew(self, tmp_path: Path) -> None:
        filled(tmp_path, values())
        (tmp_path / "manifest.json").unlink()
        assert len(FeatureStore.open(tmp_path, MANIFEST).missing) == 7


class TestNeverMixes:
    @pytest.mark.parametrize(
        "change",
        [
            {"model": "other"},
            {"template": "other"},
            {"checkpoint": "step 4"},
            {"layout": "other"},
            {"data": "other"},
            {"feature": "sgd"},
            {"dtype": "float16"},
            {"rows": 8},
            {"projector": {**MANIFEST.projector, "seed": 1}},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_a_folder_of_other_features_is_refused(
        self, tmp_path: Path, change: dict[str, Any]
    ) -> None:
        FeatureStore.open(tmp_path, MANIFEST).write([0], values()[:1])
        with pytest.raises(UsageError, match=f"other features: {next(iter(change))}: ") as error:
            FeatureStore.open(tmp_path, replace(MANIFEST, **change))
        assert str(next(iter(change.values()))) in str(error.value)
        assert FeatureStore.read(tmp_path).missing.tolist() == [1, 2, 3, 4, 5, 6]

    def test_a_row_is_written_once(self, tmp_path: Path) -> None:
        store = FeatureStore.open(tmp_path, MANIFEST)
        store.write([1], values()[:1])
        with pytest.raises(UsageError, match="twice"):
            FeatureStore.open(tmp_path, MANIFEST).write([0, 1], values()[:2])
        with pytest.raises(UsageError, match="twice"):
            store.write([2, 2], values()[:2])

    def test_rows_of_another_shape_or_place_are_refused(self, tmp_path: Path) -> None:
        store = FeatureStore.open(tmp_path, MANIFEST)
        with pytest.raises(UsageError, match=r"2 rows of 5 .* shape \[2, 4\]"):
            store.write([0, 1], values()[:2, :4])
        for row in (-1, 7):
            with pytest.raises(UsageError, match="outside of 0 to 6"):
                store.write([row], values()[:1])


class TestDamage:
    def test_changed_rows_are_found(self, tmp_path: Path) -> None:
        filled(tmp_path, values())
        with (tmp_path / "features.bin").open("r+b") as file:
            file.seek(40)
            file.write(b"\x01")
        with pytest.raises(HarnessError, match="block of row 0 have changed"):
            FeatureStore.read(tmp_path).verify()

    @pytest.mark.parametrize("name", ["features.bin", "scales.bin"])
    def test_files_of_another_size_are_found(self, tmp_path: Path, name: str) -> None:
        filled(tmp_path, values())
        with (tmp_path / name).open("ab") as file:
            file.write(b"x")
        with pytest.raises(HarnessError, match=name):
            FeatureStore.read(tmp_path)

    def test_unreadable_manifests_and_journals_are_found(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no feature store"):
            FeatureStore.read(tmp_path)
        filled(tmp_path, values())
        (tmp_path / "done.jsonl").write_text("{\n")
        with pytest.raises(HarnessError, match=r"done\.jsonl cannot"):
            FeatureStore.read(tmp_path)
        manifest = json.loads((tmp_path / "manifest.json").read_text())
        (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
        with pytest.raises(HarnessError, match="format is 99"):
            FeatureStore.read(tmp_path)
        (tmp_path / "manifest.json").write_text("[]")
        with pytest.raises(HarnessError, match=r"manifest.json cannot"):
            FeatureStore.read(tmp_path)

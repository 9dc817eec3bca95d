"""What goes is what no record needs, and nothing that someone is working on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from harness.api import BenchResult
from harness.errors import UsageError
from harness.leaderboard.formats.markdown import Markdown
from harness.storage.arrays import StoredArrays
from harness.storage.store import Store
from harness.upkeep.cleaning import Leftover, leftovers, remove

Toy = Callable[..., BenchResult]


@contextmanager
def held(store: Store, name: str) -> Iterator[None]:
    """Another process that holds a stage's lock."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom harness.storage.store import Store\n"
        "with Store(Path(sys.argv[1])).lock(sys.argv[2]):\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(store.root), name],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield
    finally:
        process.communicate("")


def put(path: Path, size: int) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "file").write_bytes(b"x" * size)
    return path


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def named(found: tuple[Leftover, ...]) -> set[tuple[str, str]]:
    return {(one.kind, one.path.name) for one in found if one.kind != "lock"}


@pytest.fixture
def store(run_toy: Toy) -> Store:
    """A finished bench, with every kind of thing that a kill may leave behind."""
    result = run_toy(seeds=[0])
    store = Store(result.output)
    (store.artifacts / "locks").mkdir(exist_ok=True)
    key = result.plan.cells[0].key
    put(store.artifacts / "distilled/unused", 100)
    put(store.artifacts / "distilled/cut.partial", 200)
    put(store.artifacts / "fits/weights", 300)
    put(store.artifacts / "fits/half.partial", 400)
    put(store.artifacts / "work/interrupted", 500)
    put(store.artifacts / "work" / key, 600)
    StoredArrays(store).arrays("embedding", {"of": "x"}, lambda: {"a": np.zeros(8)})
    put(store.artifacts / "arrays/torn.partial", 700)
    (store.artifacts / "locks/old.lock").touch()
    return store


class TestListing:
    def test_everything_that_no_record_needs_is_named_with_its_bytes(self, store: Store) -> None:
        found = {one.path.name: one for one in leftovers(store.root).found if one.kind != "lock"}
        sizes = {name: one.bytes for name, one in found.items() if one.kind != "arrays"}
        (record_work,) = [one for one in found.values() if one.bytes == 600]
        assert sizes == {
            "unused": 100, "cut.partial": 200, "weights": 300, "half.partial": 400,
            "interrupted": 500, record_work.path.name: 600, "torn.partial": 700,
        }  # fmt: skip
        (arrays,) = [one for one in found.values() if one.kind == "arrays"]
        assert arrays.bytes == sum(file.stat().st_size for file in arrays.path.iterdir())
        assert record_work.reason == "the stage is finished"
        assert "go on" in found["interrupted"].reason

    def test_it_changes_nothing(self, store: Store) -> None:
        before = snapshot(store.root)
        leftovers(store.root)
        assert snapshot(store.root) == before

    def test_sets_that_records_use_stay(self, store: Store) -> None:
        kept = {path.name for path in (store.artifacts / "distilled").iterdir()}
        listed = {one.path.name for one in leftovers(store.root).found}
        assert len(kept - listed) == 3

    def test_with_a_record_that_cannot_be_read_all_sets_stay(self, store: Store) -> None:
        victim = next(store.records.glob("*.json"))
        victim.write_bytes(victim.read_bytes()[:50])
        found = leftovers(store.root)
        assert "distilled" not in {one.kind for one in found.found}
        assert "1 records cannot be read" in found.notes[0]

    def test_links_and_files_of_others_are_left_alone(self, store: Store, tmp_path: Path) -> None:
        mine = put(tmp_path / "mine", 10)
        (store.artifacts / "fits/link").symlink_to(mine)
        (store.artifacts / "fits/notes.txt").write_text("mine too")
        assert {"link", "notes.txt"} & {
            one.path.name for one in leftovers(store.root).found
        } == set()

    @pytest.mark.parametrize("name", ["nowhere", "empty"])
    def test_a_folder_that_holds_no_results_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(UsageError, match="is not a results folder"):
            leftovers(tmp_path / name)

    def test_committed_records_without_artifacts_leave_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "records").mkdir()
        assert leftovers(tmp_path).found == ()


class TestRemoving:
    def test_what_was_listed_goes_and_nothing_else(self, store: Store) -> None:
        found = leftovers(store.root)
        before = snapshot(store.root)
        gone = remove(store.root, found.found)
        assert set(gone) == set(found.found)
        listed = {one.path for one in found.found}
        kept = {p: c for p, c in before.items() if not listed & {p, *p.parents}}
        assert snapshot(store.root) == kept
        assert leftovers(store.root).found == ()

    def test_the_same_bench_finds_its_records_and_board(self, store: Store, run_toy: Toy) -> None:
        before = run_toy(seeds=[0])
        remove(store.root, leftovers(store.root).found)
        after = run_toy(seeds=[0])
        assert (after.outcome.computed, after.outcome.reused) == (0, 3)
        boards = {Markdown().render(result.board()) for result in (before, after)}
        assert len(boards) == 1

    def test_a_failure_and_a_stray_file_stay(self, store: Store) -> None:
        (store.failures / "x.json").write_text("{")
        (store.records / ".x.json.1.partial").write_text("{")
        before = snapshot(store.records) | snapshot(store.failures)
        remove(store.root, leftovers(store.root).found)
        assert snapshot(store.records) | snapshot(store.failures) == before


class TestWhileABenchIsAtWork:
    def test_what_it_may_want_is_not_listed(self, store: Store) -> None:
        with held(store, "somewhere"):
            found = leftovers(store.root)
        assert found.held == ("somewhere",)
        assert not any(one.useful or one.kind == "lock" for one in found.found)
        assert {name for kind, name in named(found.found) if kind == "partial"} == {
            "cut.partial", "half.partial", "torn.partial",
        }  # fmt: skip
        assert {kind for kind, _ in named(found.found)} == {"partial", "work"}
        assert "a bench is at work here (1 stages are locked), so 4 things" in found.notes[-1]

    @pytest.mark.parametrize(
        ("lock", "spared"),
        [
            ("unused", "unused"), ("cut", "cut.partial"), ("weights", "weights"),
            ("interrupted", "interrupted"), ("arrays-torn", "torn.partial"), ("old", "old.lock"),
        ],
    )  # fmt: skip
    def test_a_stage_that_was_locked_since_the_listing_is_spared(
        self, store: Store, lock: str, spared: str
    ) -> None:
        found = leftovers(store.root).found
        with held(store, lock):
            gone = remove(store.root, found)
            (left,) = [one for one in found if one.path.exists()]
        assert left.path.name == spared
        assert set(gone) == set(found) - {left}

    def test_the_work_of_an_evaluation_is_under_the_lock_of_its_fit(self, store: Store) -> None:
        (work,) = [one for one in leftovers(store.root).found if one.reason.endswith("finished")]
        record = store.record(work.path.name)
        assert record is not None
        with held(store, record.fit_key):
            assert work not in remove(store.root, [work])
        assert work.path.exists()

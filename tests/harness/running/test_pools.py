"""Each distilling seed draws its pool: sets differ, positions and shares are of the whole split."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harness.api import BenchResult, distill
from harness.data.pool import draw_pool
from harness.plan import Plan
from harness.storage.store import Store
from toy_paths import TOY_PLUGIN, TOY_SUITE

Bench = Callable[..., BenchResult]


def test_a_method_that_draws_nothing_has_a_set_of_its_own_for_each_seed(run_toy: Bench) -> None:
    result = run_toy(settings=["seeds.pool=0.5"])
    records = result.results.filter(distiller="first").records
    assert len({record.distilled.content for record in records}) == 3
    assert {record.pool for record in records} == {0.5}
    (board,) = result.board().tables
    assert "draws 50 % of train" in {fact.name: fact.text for fact in board.facts}["seeds"]


def test_a_selection_names_rows_of_the_whole_split_that_lie_in_its_seeds_pool(
    run_toy: Bench,
) -> None:
    result = run_toy(settings=["seeds.pool=0.5"], seeds=[0, 1])
    store = Store(result.output)
    for cell in result.plan.cells:
        task = cell.task.data
        distilled = store.distilled(cell.distill_key, task.train)
        assert distilled is not None
        indices = distilled.data.indices
        assert indices is not None
        assert distilled.data.rows[:] == task.train.select_columns(["text", "label"])[indices]
        pool = draw_pool(task, cell.pool, cell.distill_seed).pool
        assert pool is None or np.isin(indices, pool).all()


def test_the_whole_split_is_no_pool(planned: Callable[..., Plan]) -> None:
    pools = {cell.distiller.label: cell.pool for cell in planned("seeds.pool=0.5").cells}
    assert pools == {"seeded": 0.5, "everything": 1.0, "first": 0.5}


def test_a_share_is_of_all_train_rows(run_toy: Bench) -> None:
    result = run_toy(settings=["seeds.pool=0.5"], budgets=["20%"], seeds=[0])
    rows = {record.distilled.rows for record in result.results.filter(distiller="first")}
    assert rows == {len(result.plan.cells[0].task.data.train) // 5}


def test_keys_know_the_pool_and_without_one_stay_what_they_were(
    planned: Callable[..., Plan],
) -> None:
    def keys(share: str) -> set[str]:
        return {cell.distill_key for cell in planned(f"seeds.pool={share}").cells}

    half, most, all_rows = keys("0.5"), keys("0.8"), keys("1")
    assert (len(half), len(all_rows)) == (7, 5)
    assert len(half & most) == len(half & all_rows) == 1  # the whole split's
    protocols = {planned(f"seeds.pool={s}").cells[0].protocol for s in ("0.5", "0.8", "1")}
    assert len(protocols) == 3


@pytest.mark.parametrize("share", ["0", "-1", "1.5"])
def test_a_share_outside_its_range_is_refused(planned: Callable[..., Plan], share: str) -> None:
    from harness.errors import UsageError

    with pytest.raises(UsageError, match="pool"):
        planned(f"seeds.pool={share}")


def test_a_set_for_use_elsewhere_is_made_from_the_whole_split(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = distill(
        "first", export=tmp_path / "set", suite=TOY_SUITE, output=tmp_path / "runs",
        plugins=[TOY_PLUGIN], settings=["seeds.pool=0.5"], device="cpu",
    )  # fmt: skip
    again = distill(
        "first", export=tmp_path / "other", suite=TOY_SUITE, output=tmp_path / "runs",
        plugins=[TOY_PLUGIN], seed=1, device="cpu",
    )  # fmt: skip
    assert made.key == again.key

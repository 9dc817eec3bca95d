"""Trajectory matching as a distiller: what it gives, says, shares, and survives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from matching_world import ROWS, Done, instructions, make_context, run, small

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import DivergenceError, UsageError
from harness.kit.language.causal_lm import CausalLM
from harness.kit.trajectories import outer_loop
from harness.kit.trajectories.inner_loop import engines
from harness.kit.trajectories.outer_loop import OuterState
from harness.kit.trajectories.pseudo_prompts import prompts_of
from harness.types import TaskData
from harness_instruct.students.families import Llama
from harness_trajectory.outer_step import TrajectoryMatching
from harness_trajectory.proxies import build_proxy
from harness_trajectory.trajectory import Trajectory
from memory_cache import MemoryCache
from resolved import resolved

LOSSES = (
    "matching_loss_initial",
    "matching_loss_initial_at_learned_step",
    "matching_loss_before_projection",
    "matching_loss_after_projection",
    "matching_loss_as_text",
)


def test_rows_are_learned_prompts_with_real_completions(done: Done) -> None:
    rows, pool = done.data.rows, done.task.train
    assert done.data.indices is None
    assert rows.column_names == ["prompt", "completion"]
    assert len(rows) == ROWS
    assert set(rows["completion"][:]) <= set(pool["completion"][:])
    assert all(prompt[-1].isspace() for prompt in rows["prompt"][:])


def test_learning_lowers_the_loss_of_the_real_rows_on_an_expert_never_learned_from(
    done: Done,
) -> None:
    initial, at_step, learned, *_ = (done.data.report[name] for name in LOSSES)
    assert learned < at_step
    assert learned < initial


def test_the_report_names_every_stage_and_says_what_the_method_is(done: Done) -> None:
    report = done.data.report
    assert report["method"] == "reconstruction"
    assert all(float(report[name]) >= 0 for name in LOSSES)
    assert report["outer_steps"] == done.method.outer_steps
    assert 0 <= float(report["changed_tokens"]) <= 1
    assert 0 <= float(report["round_trip_drift"]) <= 1
    assert float(report["neighbour_distance"]) > 0
    assert float(report["largest_displacement"]) > 0
    assert float(report["step_size"]) != pytest.approx(done.method.first_step_size)


def test_text_that_comes_back_as_the_same_tokens_has_the_loss_of_the_tokens(done: Done) -> None:
    report = done.data.report
    assert report["round_trip_drift"] == 0
    assert report["matching_loss_as_text"] == pytest.approx(
        report["matching_loss_after_projection"], rel=1e-5
    )


def test_curves_show_the_matching_the_experts_and_the_student_trajectories(done: Done) -> None:
    curves = done.context.curves
    assert len(curves["matching loss"].values) == done.method.outer_steps
    assert len(curves["expert loss"].values) == done.method.expert_steps
    distances = curves["student's way, before projection"].values
    assert distances[0] == pytest.approx(1)
    assert distances[-1] == pytest.approx(
        done.data.report["matching_loss_before_projection"], rel=1e-4
    )


def test_seeds_and_budgets_share_the_experts_and_differ_in_rows(
    done: Done, tmp_path: Path, cache: MemoryCache
) -> None:
    before = cache.computed.count("trajectory-experts")
    other = run(tmp_path, cache, seed=1, budget="5rows", outer_steps=0)
    assert cache.computed.count("trajectory-experts") == before
    assert len(other.data.rows) == 5
    assert other.data.rows["prompt"][:] != done.data.rows["prompt"][:5]


def test_a_killed_run_goes_on_and_gives_the_same(
    done: Done, tmp_path: Path, cache: MemoryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outer_loop, "SAVE_SECONDS", -1.0)
    step, seen = TrajectoryMatching.step, []

    def killed(self: TrajectoryMatching, state: OuterState) -> OuterState:
        seen.append(state.steps)
        if seen == [0, 1, 2, 3, 4]:
            raise KeyboardInterrupt
        return step(self, state)

    monkeypatch.setattr(TrajectoryMatching, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, cache)
    again = run(tmp_path, cache)
    assert seen == [0, 1, 2, 3, 4, 4, 5]
    assert again.data.rows.to_list() == done.data.rows.to_list()
    assert again.data.report == done.data.report
    assert again.context.curves == done.context.curves


@dataclass(frozen=True)
class Altered(Llama):
    """The small model, changed after it was built."""

    change: Callable[[CausalLM], None] = lambda lm: None

    def build(self, task: TaskData, context: StageContext) -> CausalLM:
        lm = Llama(variant="tiny").build(task, context)
        self.change(lm)
        return lm


def forbid_all(lm: CausalLM) -> None:
    lm.tokenizer.add_special_tokens({"additional_special_tokens": list(lm.tokenizer.get_vocab())})


def fails_from(step: int, error: Exception) -> Callable[..., Any]:
    """An engine that works for `step` steps and then no more."""
    calls = 0

    def engine(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > step:
            raise error
        return engines.adjoint(*arguments)

    return engine


def test_a_diverging_loop_is_stopped_reported_and_its_last_good_vectors_kept(
    tmp_path: Path, cache: MemoryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole", cache, outer_steps=2, strength=0.0)
    broken = fails_from(3, DivergenceError("the inner loop diverged in step 2 of 3"))
    monkeypatch.setitem(engines.ENGINES, "adjoint", broken)  # type: ignore[arg-type]
    stopped = run(tmp_path / "stopped", cache, strength=0.0)
    assert stopped.data.report["diverged_at_step"] == 3
    assert len(stopped.context.curves["matching loss"].values) == 3
    for name in ("step_size", "matching_loss_before_projection"):
        assert stopped.data.report[name] == whole.data.report[name]
    again = run(tmp_path / "stopped", cache, strength=0.0)
    assert again.data.report == stopped.data.report


def test_a_loop_that_diverges_at_once_is_an_error(tmp_path: Path, cache: MemoryCache) -> None:
    with pytest.raises(DivergenceError, match="before anything was learned"):
        run(tmp_path, cache, step_size=1e6)


def test_the_descending_inner_loop_and_the_other_losses_work_too(
    tmp_path: Path, cache: MemoryCache
) -> None:
    other = run(
        tmp_path, cache, inner_optimizer="sgd", engine="tesla", loss="product", step_size=0.5,
        regulariser="norm", initial="k-means", project_every=2, metric="cosine", outer_steps=2,
        keep_template=True, verify=True,
    )  # fmt: skip
    assert float(other.data.report["engine_error"]) > 0


def test_random_tokens_keep_the_real_responses(tmp_path: Path, cache: MemoryCache) -> None:
    drawn = run(tmp_path, cache, initial="tokens", outer_steps=0)
    pool = drawn.task.train
    assert set(drawn.data.rows["completion"][:]) <= set(pool["completion"][:])
    assert not set(drawn.data.rows["prompt"][:]) & set(pool["prompt"][:])


def test_rows_that_were_not_learned_are_text_as_they_were(
    tmp_path: Path, cache: MemoryCache
) -> None:
    task = instructions()
    proxy = build_proxy(small(), task, make_context(tmp_path, cache))
    prompts = prompts_of(proxy.pool, range(24), proxy.tokenizer.all_special_ids)
    assert proxy.texts(prompts)["prompt"][:] == task.train["prompt"][:]


def test_a_budget_in_tokens_takes_fewer_rows(tmp_path: Path, cache: MemoryCache) -> None:
    few = run(tmp_path, cache, tokens=40, outer_steps=0)
    assert 0 < len(few.data.rows) < ROWS
    assert int(few.data.report["tokens"]) <= 40


def test_a_budget_of_fewer_tokens_than_a_row_needs_is_refused(
    tmp_path: Path, cache: MemoryCache
) -> None:
    with pytest.raises(UsageError, match="budget of 3 tokens is less than"):
        run(tmp_path, cache, tokens=3)


def test_a_vocabulary_without_an_allowed_token_is_refused(
    tmp_path: Path, cache: MemoryCache
) -> None:
    silent = Altered(variant="tiny", change=forbid_all)
    with pytest.raises(UsageError, match="tokens of the vocabulary are forbidden"):
        run(tmp_path, cache, student=silent)


def test_a_proxy_that_chats_is_refused(tmp_path: Path, cache: MemoryCache) -> None:
    def chatting(lm: CausalLM) -> None:
        lm.chat = True

    with pytest.raises(UsageError, match="chat template on"):
        run(tmp_path, cache, student=Altered(variant="tiny", change=chatting))


def test_pictures_are_refused(tmp_path: Path, cache: MemoryCache) -> None:
    task = replace(instructions(), modality="image-text")
    with pytest.raises(UsageError, match="learns text, and task 'toy-instructions'"):
        small().distill(task, Budget.parse("2rows"), make_context(tmp_path, cache))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_start": 4}, "matched to state 5, and the experts keep states 0 to 4"),
        ({"span": 5}, "matched to state 6"),
        ({"first_start": 2}, "no start from first_start = 2 on"),
        ({"held_out": 2}, "leave none to learn from"),
        ({"expert_steps": 19}, "no multiple of every"),
        ({"engine": "tesla"}, "plain gradient descent"),
        ({"inner_steps": 0}, "inner_steps = 0: should be a whole number, at least 1"),
        ({"strength": -1.0}, "strength = -1.0: should be a number, at least 0"),
        ({"learning_rate": float("nan")}, "learning_rate = nan"),
        ({"expert_learning_rate": 0.0}, "expert_learning_rate = 0.0: should be a number, above 0"),
        ({"expert_momentum": 1.0}, "expert_momentum = 1.0: should be"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_runs(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        resolved(Trajectory, **{**asdict(small()), **options})


def test_the_first_step_size_lets_inner_steps_go_as_far_as_the_experts() -> None:
    method = small(inner_steps=4, span=2, every=5, expert_learning_rate=0.01)
    assert method.first_step_size == pytest.approx(0.01 * 10 / 4)
    assert replace(method, step_size=0.3).first_step_size == 0.3

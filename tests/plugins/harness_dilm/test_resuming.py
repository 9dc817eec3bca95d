"""A run that dies anywhere in the two long stages ends with the bits of an undisturbed one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import pytest
from dilm_world import MATCHING as MATCHING_OPTIONS
from dilm_world import TINY, make_classifier, make_context, make_generator, make_task
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness import Budget
from harness.api import BenchResult, bench
from harness.context import SilentProgress, StageContext
from harness.kit.files.resume_point import ResumePoint
from harness.records.results import Results
from harness.types import DistilledData
from harness_dilm.distiller import DiLM
from harness_dilm.generator.language_modelling import train_language_model
from harness_dilm.matching.gradient_matching import GradientMatching
from harness_dilm.options import LanguageModelOptions, MatchingOptions
from toy_paths import TOY_PLUGIN, TOY_SUITE

T = TypeVar("T")
Arrays = dict[str, np.ndarray]
TRAINING, MATCHING = "training the language model", "matching gradients"
LANGUAGE: dict[str, Any] = {
    **TINY,
    "tiny_dropout": 0.3,
    "lm_steps": 6,
    "lm_batch_size": 8,
    "lm_learning_rate": 1e-2,
}
SMALL: dict[str, Any] = {
    **MATCHING_OPTIONS,
    **LANGUAGE,
    "match_learning_rate": 1e-2,
    "lm_weight": 0.3,
    "synthetic_batch": 3,
    "dms_batches": 2,
    "max_failures": 100,
    "over_sample": 3,
}
FROZEN = {"learner_updates": "head"}
SHARED = {"learner_trajectories": 1}
IN_A_LOOP = {"dms_interval": 2}
UPDATES = 6


class Dying(SilentProgress):
    """Raises in the place of item number `at` of one loop, or after its last item."""

    def __init__(self, loop: str = "", at: int = -1) -> None:
        self._loop = loop
        self._at = at

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        at = self._at if description == self._loop else -1
        number = -1
        for number, item in enumerate(items):
            if number == at:
                raise KeyboardInterrupt
            yield item
        if number + 1 == at:
            raise KeyboardInterrupt


@contextmanager
def written_every(steps: int) -> Iterator[None]:
    """Every so many steps a resume point is due, whatever the clock says."""
    asked = 0

    def due(_: ResumePoint) -> bool:
        nonlocal asked
        asked += 1
        return asked % steps == 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumePoint, "due", due)
        yield


def resume_point(folder: Path) -> ResumePoint:
    return ResumePoint(folder / "phase.safetensors", {})


def train(folder: Path, progress: SilentProgress) -> Arrays:
    """Stage 1: losses and weights."""
    task, context = make_task(), make_context(folder, progress=progress)
    generator = make_generator(task, context, **LANGUAGE)
    rows = generator.format.encode(task.train, generator.max_length)
    options = LanguageModelOptions(**LANGUAGE)
    losses = train_language_model(generator, rows, options, context, resume_point(folder))
    return {"losses": losses, **generator.parameters()}


def match(folder: Path, progress: SilentProgress, **changes: Any) -> Arrays:
    """Stage 2: trace and weights."""
    task, context = make_task(), make_context(folder, progress=progress)
    generator = make_generator(task, context, **LANGUAGE)
    rows = generator.format.encode(task.train, generator.max_length)
    options = MatchingOptions(**{**SMALL, **changes})
    matching = GradientMatching(generator, make_classifier(), task, rows, 12, options, context)
    trace = matching.run(resume_point(folder))
    return {**trace.arrays(), **generator.parameters()}


@cache
def undisturbed(
    frozen: bool | None = None, in_a_loop: bool = False, shared: bool = False
) -> Arrays:
    with TemporaryDirectory() as folder:
        if frozen is None:
            return train(Path(folder), SilentProgress())
        return match(Path(folder), SilentProgress(), **changes_of(frozen, in_a_loop, shared))


def changes_of(frozen: bool, in_a_loop: bool, shared: bool) -> dict[str, Any]:
    chosen = {"frozen": frozen, "in_a_loop": in_a_loop, "shared": shared}
    changes = {"frozen": FROZEN, "in_a_loop": IN_A_LOOP, "shared": SHARED}
    return {k: v for name, on in chosen.items() if on for k, v in changes[name].items()}


def require_equal(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@settings(max_examples=6)
@given(at=st.integers(0, 6), again=st.integers(0, 6), every=st.integers(1, 3))
@example(at=6, again=0, every=1)
def test_the_language_model_goes_on_bit_for_bit(at: int, again: int, every: int) -> None:
    with TemporaryDirectory() as name, written_every(every):
        folder = Path(name)
        for moment in (at, again):
            with suppress(KeyboardInterrupt):
                train(folder, Dying(TRAINING, moment))
        found = train(folder, SilentProgress())
    require_equal(found, undisturbed())


@settings(max_examples=4)
@given(
    at=st.integers(0, UPDATES),
    every=st.integers(1, 3),
    frozen=st.booleans(),
    in_a_loop=st.booleans(),
    shared=st.booleans(),
)
@example(at=2, every=1, frozen=False, in_a_loop=False, shared=False)
@example(at=2, every=1, frozen=True, in_a_loop=True, shared=False)
@example(at=3, every=1, frozen=False, in_a_loop=False, shared=False)
@example(at=4, every=1, frozen=False, in_a_loop=True, shared=False)
@example(at=UPDATES, every=1, frozen=False, in_a_loop=False, shared=False)
@example(at=UPDATES, every=1, frozen=True, in_a_loop=False, shared=False)
@example(at=2, every=2, frozen=False, in_a_loop=False, shared=True)
@example(at=4, every=1, frozen=True, in_a_loop=False, shared=True)
@example(at=5, every=1, frozen=False, in_a_loop=True, shared=True)
def test_matching_goes_on_bit_for_bit(
    at: int, every: int, frozen: bool, in_a_loop: bool, shared: bool
) -> None:
    """Killed in a loop, at a reset with or without a regeneration, and after the last update."""
    changes = changes_of(frozen, in_a_loop, shared)
    with TemporaryDirectory() as name, written_every(every):
        folder = Path(name)
        with pytest.raises(KeyboardInterrupt):
            match(folder, Dying(MATCHING, at), **changes)
        found = match(folder, SilentProgress(), **changes)
    require_equal(found, undisturbed(frozen, in_a_loop, shared))


def test_what_was_done_is_not_done_again(tmp_path: Path) -> None:
    with written_every(1):
        with pytest.raises(KeyboardInterrupt):
            match(tmp_path, Dying(MATCHING, 4))
        with pytest.raises(KeyboardInterrupt):
            match(tmp_path, Dying(MATCHING, 2))
        # Six updates in all, so nothing is left, and no item can die.
        match(tmp_path, Dying(MATCHING, 1))


def test_a_stage_killed_again_and_again_while_it_samples_still_ends(tmp_path: Path) -> None:
    """The second regeneration dies; the updates before it are kept."""
    with written_every(1):
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                match(tmp_path, DyingAtSecondPool())
        found = match(tmp_path, SilentProgress())
    require_equal(found, undisturbed(False, False))


class DyingAtSecondPool(SilentProgress):
    """Raises when samples are drawn after an update was made, by this attempt or before it."""

    def __init__(self) -> None:
        self._updated = False

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        self._updated |= description == MATCHING and total != UPDATES
        for number, item in enumerate(items):
            self._updated |= description == MATCHING and number > 0
            if description == "generating" and self._updated:
                raise KeyboardInterrupt
            yield item


def distill(folder: Path, progress: SilentProgress | None = None, **changes: Any) -> DistilledData:
    context: StageContext = make_context(folder, progress=progress or SilentProgress())
    return DiLM(**{**SMALL, **changes}).distill(make_task(), Budget.parse("2/class"), context)


@pytest.mark.parametrize("loop", [TRAINING, MATCHING])
def test_a_resume_point_of_other_options_is_not_used(tmp_path: Path, loop: str) -> None:
    other = {"lm_learning_rate": 2e-2} if loop == TRAINING else {"match_learning_rate": 2e-2}
    expected = distill(tmp_path / "whole")
    with written_every(1):
        with pytest.raises(KeyboardInterrupt):
            distill(tmp_path / "work", Dying(loop, 4), **other)
        if loop == MATCHING:
            assert (tmp_path / "work" / "matched-generator.checkpoint.safetensors").exists()
        found = distill(tmp_path / "work")
    assert found.rows.to_dict() == expected.rows.to_dict()
    assert found.report == expected.report


def test_a_damaged_resume_point_begins_the_stage_anew(tmp_path: Path) -> None:
    expected = distill(tmp_path / "whole")
    with written_every(1), pytest.raises(KeyboardInterrupt):
        distill(tmp_path / "work", Dying(MATCHING, 4))
    path = tmp_path / "work" / "matched-generator.checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 4
    path.write_bytes(content)
    found = distill(tmp_path / "work")
    assert found.rows.to_dict() == expected.rows.to_dict()
    assert found.report == expected.report
    assert sorted(each.name for each in (tmp_path / "work").iterdir()) == [
        "language-model.safetensors",
        "matched-generator.safetensors",
    ]


def test_states_of_the_learner_outlive_a_kill_and_not_the_stage(tmp_path: Path) -> None:
    expected = distill(tmp_path / "whole", **SHARED)
    with written_every(1), pytest.raises(KeyboardInterrupt):
        distill(tmp_path / "work", Dying(MATCHING, 3), **SHARED)
    stem = "matched-generator.checkpoint"
    assert sorted(each.name for each in (tmp_path / "work").glob("matched*")) == [
        f"{stem}.learner-0-1.safetensors",
        f"{stem}.learner-0-2.safetensors",
        f"{stem}.safetensors",
    ]
    found = distill(tmp_path / "work", **SHARED)
    assert found.rows.to_dict() == expected.rows.to_dict()
    assert found.report == expected.report
    for folder in ("whole", "work"):
        assert sorted(each.name for each in (tmp_path / folder).iterdir()) == [
            "language-model.safetensors",
            "matched-generator.safetensors",
        ]


DILM_PLUGIN = str(Path(__file__).with_name("dilm_plugin.py"))


def killed_at_write(number: int, work: Callable[[], Any]) -> bool:
    """Runs `work` in a child whose n-th resume point is its last act; whether it came so far."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    write, writes = ResumePoint.write, 0

    def dying(self: ResumePoint, arrays: Mapping[str, np.ndarray]) -> None:
        nonlocal writes
        write(self, arrays)
        writes += 1
        if writes == number:
            os.kill(os.getpid(), signal.SIGKILL)

    ResumePoint.write = dying  # type: ignore[method-assign]
    try:
        with written_every(1):
            work()
    finally:
        os._exit(0)


def test_kill_9_in_both_stages_then_the_same_command_equals_undisturbed(tmp_path: Path) -> None:
    options = {**SMALL, "proxy": "tiny-bert", "pool": 30}
    chosen = [f"distiller.dilm.{name}={value}" for name, value in options.items()]
    chosen.append("seeds.distill=3")

    def run(folder: str) -> BenchResult:
        return bench(
            TOY_SUITE,
            output=tmp_path / folder,
            plugins=[TOY_PLUGIN, DILM_PLUGIN],
            device="cpu",
            tasks=["tiny-sentences"],
            distillers=["dilm"],
            settings=chosen,
        )

    # Six steps of the language model: three before the first kill, three after it.
    for writes, stage in ((3, "language-model"), (3 + 4, "matched-generator")):
        assert killed_at_write(writes, lambda: run("results"))
        left = (tmp_path / "results/artifacts/work").rglob("*.checkpoint.*")
        assert [path.name for path in left] == [f"{stage}.checkpoint.safetensors"]
    resumed, calm = run("results"), run("calm")
    assert resumed.outcome.failures == []

    def outcomes(results: Results) -> list[str]:
        return sorted(str((r.key, r.metrics, r.items, r.distilled, r.curves)) for r in results)

    assert any(record.distiller.name == "dilm" for record in calm.results)
    assert outcomes(resumed.results) == outcomes(calm.results)

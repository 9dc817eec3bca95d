"""Both methods as distillers: what they give, say, share and refuse."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tdd_world import BUDGET, Checkpoint, Done, make_context, run, small, small_tokens, toy

from harness.budget import Budget
from harness.errors import UsageError
from harness.kit.trajectories import outer_loop
from harness.kit.trajectories.outer_loop import OuterState
from harness.testing.instruction import toy_instruction_task
from harness.testing.toys import toy_task
from harness.types import DistilledData, Recipe
from harness_tdd.outer_step import PerformanceMatching
from harness_tdd.stages import learn_embeddings
from harness_tdd.vectors import Tdd
from harness_text.students import Bert
from memory_cache import MemoryCache
from resolved import resolved

RECIPE = Recipe(steps=3, batch_size=4, learning_rate=1e-2, max_length=32)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Done, MemoryCache]:
    cache, folder = MemoryCache(), tmp_path_factory.mktemp("both")
    vectors = run(small(), make_context(folder / "vectors", cache=cache))
    tokens = run(small_tokens(), make_context(folder / "tokens", cache=cache))
    return vectors, tokens, cache


def test_each_class_has_its_rows(both: tuple[Done, Done, MemoryCache]) -> None:
    for done in both[:2]:
        assert done.data.rows.column_names == ["text", "label"]
        assert done.data.rows["label"][:] == [0, 0, 0, 1, 1, 1]
        assert done.data.indices is None
        assert all(text.strip() for text in done.data.rows["text"][:])


def test_learning_is_done_once_for_both(both: tuple[Done, Done, MemoryCache]) -> None:
    vectors, tokens, cache = both
    assert cache.computed.count("tdd") == 1
    assert tokens.data.rows["text"][:] == vectors.data.rows["text"][:]
    same = "held_out_loss_vectors"
    assert tokens.data.report[same] == vectors.data.report[same]


def test_other_labels_or_another_metric_need_no_other_learning(
    both: tuple[Done, Done, MemoryCache], tmp_path: Path
) -> None:
    cache = both[2]
    before = cache.computed.count("tdd")
    soft = run(small_tokens("soft", metric="cosine"), make_context(tmp_path, cache=cache))
    assert cache.computed.count("tdd") == before
    assert soft.data.soft_labels is not None
    np.testing.assert_allclose(soft.data.soft_labels, both[0].data.soft_labels)
    assert both[1].data.soft_labels is None


def test_the_report_names_every_stage(both: tuple[Done, Done, MemoryCache]) -> None:
    vectors, tokens, _ = both
    names = ("start", "initial", "initial_at_learned_step", "vectors")
    for done in (vectors, tokens):
        losses = [float(done.data.report[f"held_out_loss_{name}"]) for name in names]
        assert all(loss > 0 for loss in losses)
        assert losses[0] == pytest.approx(np.log(2), abs=0.1)
        assert 0 <= float(done.data.report["changed_tokens"]) <= 1
        assert done.data.report["outer_steps"] == 4
        assert len(done.context.curves["real loss"].values) == 4
    again = (tokens.data.report[f"held_out_loss_{name}"] for name in ("tokens", "as_text"))
    assert next(again) == pytest.approx(next(again), rel=1e-4)
    assert tokens.data.report["round_trip_drift"] == 0
    assert "held_out_loss_tokens" not in vectors.data.report


def test_only_allowed_tokens_are_projected_to(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    options = small(learning_rate=5.0)
    result = learn_embeddings(options, toy(), Budget.parse(BUDGET), context)
    allowed = set(result.matching.vocabulary.allowed.ids.tolist())
    projected = result.nearest.ids.tolist()
    assert set(projected) <= allowed
    assert (
        float((torch.tensor(projected) != torch.from_numpy(result.prompts.learned_ids)).sum()) > 0
    )
    table = result.matching.vocabulary.table
    distances = torch.cdist(result.vectors.double(), table.double())
    distances[:, sorted(set(range(len(table))) - allowed)] = torch.inf
    assert distances.argmin(1).tolist() == projected


def test_seeds_differ_and_a_seed_is_itself(
    both: tuple[Done, Done, MemoryCache], tmp_path: Path
) -> None:
    same = run(small(), make_context(tmp_path / "same"))
    other = run(small(), make_context(tmp_path / "other", seed=1))
    known = both[0].data
    np.testing.assert_array_equal(same.data.arrays["vectors"], known.arrays["vectors"])
    assert same.data.report == known.report
    assert other.data.rows["text"][:] != known.rows["text"][:]


def test_a_killed_run_goes_on_and_gives_the_same(
    both: tuple[Done, Done, MemoryCache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outer_loop, "SAVE_SECONDS", -1.0)
    step, seen = PerformanceMatching.step, []

    def killed(self: PerformanceMatching, state: OuterState) -> OuterState:
        seen.append(state.steps)
        if seen == [0, 1, 2]:
            raise KeyboardInterrupt
        return step(self, state)

    monkeypatch.setattr(PerformanceMatching, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(small(), make_context(tmp_path))
    again, known = run(small(), make_context(tmp_path)), both[0]
    assert seen == [0, 1, 2, 2, 3]
    np.testing.assert_array_equal(again.data.arrays["vectors"], known.data.arrays["vectors"])
    np.testing.assert_array_equal(again.data.soft_labels, known.data.soft_labels)
    assert again.data.rows.to_list() == known.data.rows.to_list()
    assert again.data.report == known.data.report
    assert again.context.curves == known.context.curves


def test_unlearned_rows_are_those_of_train_with_their_own_embeddings(tmp_path: Path) -> None:
    done = run(small(outer_steps=0), make_context(tmp_path))
    assert set(done.data.rows["text"][:]) <= set(done.task.train["text"][:])
    model = Checkpoint("tiny").build(done.task, done.context)
    ids = np.concatenate(model.encode(done.data.rows).ids)[done.data.arrays["learned"]]
    table = model.model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(done.data.arrays["vectors"], table[ids])


def test_training_on_unlearned_vectors_is_training_on_a_selection_of_their_rows(
    tmp_path: Path,
) -> None:
    method = small(outer_steps=0, soft_labels=False)
    done, student = run(method, make_context(tmp_path)), Checkpoint("tiny")
    assert done.data.soft_labels is None
    texts = done.task.train["text"][:]
    chosen = [texts.index(text) for text in done.data.rows["text"][:]]
    selected = DistilledData.select(done.task, chosen)
    on_vectors = method.train(done.task, student, done.data, RECIPE, done.context)
    on_rows = student.fit(done.task, selected, RECIPE, done.context)
    pairs = zip(on_vectors.model.parameters(), on_rows.model.parameters(), strict=True)
    for first, second in pairs:
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)


def test_students_are_trained_on_the_learned_labels(
    both: tuple[Done, Done, MemoryCache], tmp_path: Path
) -> None:
    done, student = both[0], Checkpoint("tiny")
    assert isinstance(done.method, type(small()))
    soft = done.method.train(done.task, student, done.data, RECIPE, done.context)
    hard_data = replace(done.data, soft_labels=None)
    hard = done.method.train(done.task, student, hard_data, RECIPE, done.context)
    rows = done.task.validation
    assert not np.allclose(soft.predict(rows), hard.predict(rows))


def test_a_student_with_other_embeddings_is_refused(
    both: tuple[Done, Done, MemoryCache],
) -> None:
    done = both[0]
    with pytest.raises(UsageError, match="this student has others"):
        small().train(done.task, Bert("tiny"), done.data, RECIPE, done.context)


def test_a_class_that_labels_left_is_replaced_in_text_alone(tmp_path: Path) -> None:
    """Labels are driven over by a rate that no one would set."""
    options: dict[str, Any] = {"outer_steps": 6, "label_learning_rate": 3.0, "decay": False}
    tokens = run(small_tokens(**options), make_context(tmp_path / "tokens"))
    vectors = run(small(**options), make_context(tmp_path / "vectors"))
    soft = vectors.data.soft_labels
    assert soft is not None
    assert vectors.data.rows["label"][:] == [0, 0, 0, 1, 1, 1]
    assert tokens.data.rows["label"][:] == soft.argmax(1).tolist()
    changed = np.mean(soft.argmax(1) != np.array([0, 0, 0, 1, 1, 1]))
    assert tokens.data.report["changed_labels"] == pytest.approx(changed)


@pytest.mark.parametrize("initial", ["k-means", "tokens"])
def test_other_beginnings_keep_the_budget(tmp_path: Path, initial: str) -> None:
    done = run(small(initial=initial, outer_steps=1), make_context(tmp_path), budget="2/class")
    assert done.data.rows["label"][:] == [0, 0, 1, 1]


def test_three_classes(tmp_path: Path) -> None:
    task = toy_task(classes=3, rows=45).sealed()
    done = run(small(outer_steps=1), make_context(tmp_path), task=task, budget="2/class")
    assert done.data.rows["label"][:] == [0, 0, 1, 1, 2, 2]
    assert done.data.soft_labels is not None
    assert done.data.soft_labels.shape == (6, 3)


@pytest.mark.parametrize("method", [small(), small_tokens()], ids=["vectors", "tokens"])
def test_instructions_are_refused(tmp_path: Path, method: Any) -> None:
    task = toy_instruction_task(12).sealed()
    with pytest.raises(UsageError, match="text classification, and task 'toy-instructions'"):
        method.distill(task, Budget.parse("2rows"), make_context(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_steps": 0}, "inner_steps = 0: should be a whole number, at least 1"),
        ({"heads": -1}, "heads = -1: should be a whole number, at least 0"),
        ({"step_size": 0.0}, "step_size = 0.0: should be a number, above 0"),
        ({"smoothing": 0.0}, "smoothing = 0.0: should be a number, above 0 and below 1"),
        ({"learning_rate": float("nan")}, "learning_rate = nan"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_runs(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        resolved(Tdd, **{**asdict(small()), **options})

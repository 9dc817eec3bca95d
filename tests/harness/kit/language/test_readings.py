"""What is read of prompts and continuations: each token as seldom as can be, to equal scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causal_models import FAMILIES, make_lm
from harness.kit.language import readings
from harness.kit.language.labelled_rows import IGNORED, LabelledRows
from harness.kit.language.readings import can_branch, plan_readings, visible
from harness.kit.training.batching import EncodedRows

PROMPT, OTHER = [7, 8, 9], [7, 8]


def encoded(*rows: tuple[list[int], list[int]]) -> LabelledRows:
    ids = tuple(np.array([*prompt, *tail], dtype=np.int32) for prompt, tail in rows)
    labels = tuple(np.array([*([IGNORED] * len(p)), *t], dtype=np.int64) for p, t in rows)
    return LabelledRows(EncodedRows(ids), labels)


FOUR = encoded((PROMPT, [1, 2, 3]), (OTHER, [4]), (PROMPT, [5]), (PROMPT, [1, 6]))
tokens = st.lists(st.integers(0, 3), min_size=1, max_size=4)
requests = st.lists(st.tuples(tokens, tokens), min_size=1, max_size=8)


def test_a_shared_prompt_is_read_once_with_its_continuations_as_branches() -> None:
    plan = plan_readings(FOUR, branching=True)
    assert [row.tolist() for row in plan.rows.ids] == [[7, 8, 9, 1, 2, 1], [7, 8]]
    assert [row.tolist() for row in plan.positions] == [[0, 1, 2, 3, 4, 3], [0, 1]]
    assert [row.tolist() for row in plan.branches] == [[0, 0, 0, 1, 1, 2], [0, 0]]
    assert plan.owners.tolist() == [0, 1, 0, 0]
    assert [row.tolist() for row in plan.places] == [[2, 3, 4], [1], [2], [2, 5]]
    assert [row.tolist() for row in plan.targets] == [[1, 2, 3], [4], [5], [1, 6]]
    assert [row.tolist() for row in plan.requests()] == [[0, 2, 3], [1]]
    assert plan.branched


def test_without_branches_only_equal_inputs_are_shared() -> None:
    letters = encoded((PROMPT, [1]), (PROMPT, [2]), (PROMPT, [1, 2]))
    plan = plan_readings(letters, branching=False)
    assert [row.tolist() for row in plan.rows.ids] == [PROMPT, [*PROMPT, 1]]
    assert plan.owners.tolist() == [0, 0, 1]
    assert [row.tolist() for row in plan.places] == [[2], [2], [2, 3]]
    assert not plan.branched


def test_prompts_of_their_own_make_plain_sequences() -> None:
    plan = plan_readings(encoded((PROMPT, [1, 2]), (OTHER, [1, 2])), branching=True)
    assert [row.tolist() for row in plan.rows.ids] == [[*PROMPT, 1], [*OTHER, 1]]
    assert not plan.branched


@given(requests, st.booleans())
def test_every_token_is_predicted_by_what_stands_before_it(
    pairs: list[tuple[list[int], list[int]]], branching: bool
) -> None:
    """What a predicting token sees, in the order of positions, is the row up to it."""
    plan = plan_readings(encoded(*pairs), branching=branching)
    for request, (prompt, tail) in enumerate(pairs):
        row = int(plan.owners[request])
        ids, numbers = plan.rows.ids[row], plan.positions[row]
        seen = visible([plan.branches[row]], len(ids))[0]
        for step, place in enumerate(plan.places[request]):
            before = np.flatnonzero(seen[place])
            assert ids[before].tolist() == [*prompt, *tail][: len(prompt) + step]
            assert numbers[before].tolist() == list(range(len(before)))
        assert plan.targets[request].tolist() == tail


@given(tokens, st.lists(tokens, min_size=1, max_size=8))
def test_branching_never_reads_more(prompt: list[int], tails: list[list[int]]) -> None:
    rows = encoded(*((prompt, tail) for tail in tails))
    together, apart = (plan_readings(rows, branching=b) for b in (True, False))
    assert together.rows.lengths.sum() <= apart.rows.lengths.sum()
    assert len(together.rows) == 1


def test_a_row_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "MOST_TOKENS", 8)
    plan = plan_readings(encoded(*[(PROMPT, [n, n, n]) for n in range(5)]), branching=True)
    assert plan.rows.lengths.tolist() == [7, 7, 5]
    assert plan.owners.tolist() == [0, 0, 1, 1, 2]


def test_what_is_visible_by_a_plain_loop() -> None:
    branches = [np.array([0, 0, 1, 1, 2]), np.array([0, 1])]
    found = visible(branches, 5)
    for row, own in enumerate(branches):
        for i in range(len(own)):
            for j in range(5):
                expected = j <= i and (own[j] == 0 or own[j] == own[i])
                assert found[row, i, j] == expected
    assert found.any(-1).all()


@pytest.mark.parametrize("family", list(FAMILIES))
def test_shared_prompts_change_no_score(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make_lm(family)
    assert can_branch(lm.model)
    choices = ["green", "white and cold", "the answer", "g", "green"]
    pairs = [(f"what colour is {t}? ", c) for t in ("grass", "the cold snow") for c in choices]
    together = lm.loglikelihood([*pairs, ("alone ", "green answer")])
    monkeypatch.setattr("harness.kit.language.causal_lm.can_branch", lambda model: False)
    apart = lm.loglikelihood([*pairs, ("alone ", "green answer")])
    np.testing.assert_allclose(together.sums, apart.sums, rtol=1e-5, atol=1e-5)
    assert together.greedy.tolist() == apart.greedy.tolist()
    assert together.tokens.tolist() == apart.tokens.tolist()


def test_a_family_that_is_not_known_reads_plain_sequences() -> None:
    model = make_lm().model
    model.config.model_type = "unheard-of"
    assert not can_branch(model)

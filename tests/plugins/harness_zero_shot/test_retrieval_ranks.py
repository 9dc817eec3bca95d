"""Ranks of right answers against sorting the whole matrix, with ties and in small blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness_zero_shot.retrieval_ranks import best_positive_ranks
from numbered_pictures import directions


def slow_ranks(queries: np.ndarray, gallery: np.ndarray, pairs: np.ndarray) -> list[int]:
    """Sorts each query's answers, wrong ones first among equals, and looks for a right one."""
    ranks = []
    for query, vector in enumerate(queries.astype(np.float64)):
        right = {int(answer) for asked, answer in pairs if asked == query}
        similar = [round(float(vector @ other), 9) for other in gallery.astype(np.float64)]
        order = sorted(range(len(gallery)), key=lambda n: (-similar[n], n in right))
        ranks.append(1 + min(order.index(answer) for answer in right))
    return ranks


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Few directions for many things, so that ties are common, and right answers at random."""
    queries, gallery = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    vectors = directions(draw(st.integers(1, 6)), 3, draw(st.integers(0, 99)))
    pick = st.integers(0, len(vectors) - 1)
    asked = vectors[draw(st.lists(pick, min_size=queries, max_size=queries))]
    offered = vectors[draw(st.lists(pick, min_size=gallery, max_size=gallery))]
    pairs = {(query, draw(st.integers(0, gallery - 1))) for query in range(queries)}
    pairs |= draw(st.sets(st.tuples(st.integers(0, queries - 1), st.integers(0, gallery - 1))))
    shuffled = draw(st.permutations(sorted(pairs)))
    return asked, offered, np.array(shuffled)


@settings(deadline=None)
@given(problem=problems(), block=st.integers(1, 100))
def test_are_those_of_sorting_everything(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray], block: int
) -> None:
    found = best_positive_ranks(*problem, block=block)
    # Where several right answers tie with wrong ones, sorting puts the wrong ones first too.
    assert found.tolist() == slow_ranks(*problem)


def test_other_right_answers_do_not_push_the_best_one_down() -> None:
    queries = np.array([[1.0, 0.0]], dtype=np.float32)
    gallery = np.array([[0.8, 0.6], [1.0, 0.0], [0.6, 0.8]], dtype=np.float32)
    assert best_positive_ranks(queries, gallery, np.array([[0, 0], [0, 1]])).tolist() == [1]
    assert best_positive_ranks(queries, gallery, np.array([[0, 2], [0, 0]])).tolist() == [2]


def test_a_constant_model_ranks_every_right_answer_last() -> None:
    same = np.ones((50, 4), dtype=np.float32) / 2
    pairs = np.stack([np.arange(50)] * 2, axis=1)
    assert set(best_positive_ranks(same, same, pairs).tolist()) == {50}


def test_equal_vectors_tie_wherever_they_stand() -> None:
    """The products of equal rows may differ in their last digits, by where they lie in memory."""
    one = directions(1, 67)
    for size in (17, 64, 129):
        pairs = np.stack([np.arange(size)] * 2, axis=1)
        same = np.repeat(one, size, axis=0)
        assert set(best_positive_ranks(same, same, pairs, block=3 * size).tolist()) == {size}


@pytest.mark.parametrize("block", [1, 37, 10_000])
def test_the_size_of_a_block_changes_nothing(block: int) -> None:
    queries, gallery = directions(60, seed=1), directions(45, seed=2)
    generator = np.random.default_rng(3)
    pairs = np.unique(
        np.concatenate(
            [
                np.stack([np.arange(60), generator.integers(0, 45, 60)], axis=1),
                np.stack([generator.integers(0, 60, 90), generator.integers(0, 45, 90)], axis=1),
            ]
        ),
        axis=0,
    )
    found = best_positive_ranks(queries, gallery, pairs, block=block)
    assert found.tolist() == slow_ranks(queries, gallery, pairs)

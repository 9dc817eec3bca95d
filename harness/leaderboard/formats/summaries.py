"""Rankings and transfer as small tables, shared by terminal, Markdown and page."""

from __future__ import annotations

from dataclasses import dataclass

from harness.leaderboard.board import Board
from harness.leaderboard.formats.columns import NOTHING, Column, percent
from harness.leaderboard.overview import Ranking, Transfer
from harness.leaderboard.stats import MeanEstimate


@dataclass(frozen=True)
class Summary:
    """A small table with one sentence under it."""

    title: str
    columns: tuple[Column, ...]
    note: str
    about: Ranking | Transfer


def summaries(board: Board) -> list[Summary]:
    """Average ranks first, then transfer to other students."""
    return [*map(_ranking, board.rankings), *map(_transfer, board.transfers)]


def _ranking(ranking: Ranking) -> Summary:
    result = ranking.result
    groups = [
        " = ".join(ranking.methods[position] for position in clique) for clique in result.cliques()
    ]
    left_out = f"; left out, not run on every task: {', '.join(ranking.left_out)}"
    return Summary(
        ranking.title,
        (
            Column("method", "row", ranking.methods, foreign=True, left=True),
            Column("average rank", "score", tuple(f"{rank:.2f}" for rank in result.ranks)),
        ),
        f"tasks {', '.join(ranking.tasks)}; Friedman p = {result.p_value:.3f}; critical difference"
        f" {result.critical_difference:.2f} (Nemenyi, 95 %); no evidence of a difference within:"
        f" {'; '.join(groups) or 'no group'}{left_out if ranking.left_out else ''}",
        ranking,
    )


def _transfer(transfer: Transfer) -> Summary:
    by_student = tuple(
        Column(
            f"{student} %{' (held out)' if student in transfer.held_out else ''}",
            "score",
            tuple(_estimate(row.by_student[position]) for row in transfer.rows),
            foreign=True,
        )
        for position, student in enumerate(transfer.students)
    )
    methods = tuple(row.method for row in transfer.rows)
    means = tuple(_estimate(row.held_out) for row in transfer.rows)
    return Summary(
        transfer.title,
        (
            Column("method", "row", methods, foreign=True, left=True),
            *by_student,
            Column("held-out mean %", "score", means),
        ),
        f"{_seen(transfer)}a student is held out when no distiller of this board names it, as its"
        " proxy or otherwise; a mean over held-out students needs all of them",
        transfer,
    )


def _seen(transfer: Transfer) -> str:
    """Who has seen which student, for a reader to judge by."""
    return "".join(
        f"{student} is seen by {', '.join(methods)}; "
        for student, methods in transfer.seen_by.items()
    )


def _estimate(estimate: MeanEstimate | None) -> str:
    if estimate is None:
        return NOTHING
    margin = f" ± {percent(estimate.interval.half_width)}" if estimate.interval else ""
    return f"{percent(estimate.mean)}{margin}"

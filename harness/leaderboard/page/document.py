"""The HTML page put together: data, style, script and chart library in one file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

from harness.drawing import chart_library
from harness.leaderboard.board import Board
from harness.leaderboard.page.payload import payload


@dataclass(frozen=True)
class Html:
    """A page that sorts, filters, draws and shows every run; 1 MB, most of it the chart library.

    title: of the page.
    """

    title: str = "harness leaderboard"

    def render(self, board: Board) -> str:
        """The whole page.

        Raises:
            MissingDependencyError: the extra `plots` is not installed.
        """
        return Template(_asset("page.html")).substitute(
            title=_text(self.title),
            style=_asset("page.css"),
            library=chart_library(),
            data=_data(payload(board)),
            script=_asset("page.js"),
        )


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _data(document: Any) -> str:
    """JSON that ends no script element and starts no comment, whatever its texts hold."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _text(text: str) -> str:
    from html import escape

    return escape(text)

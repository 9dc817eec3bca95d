"""Puts data, style, script and chart library into one file that needs no network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

from harness.errors import MissingDependencyError
from harness.leaderboard.board import Board
from harness.leaderboard.page.payload import payload

VEGA_LITE = "6.1"
"""The version of the chart library that the page carries and files are drawn with."""


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


def chart_library() -> str:
    """The script of Vega-Embed with all it needs, as one text.

    Raises:
        MissingDependencyError: the extra `plots` is not installed.
    """
    return str(vl_convert().javascript_bundle(vl_version=VEGA_LITE))


def vl_convert() -> Any:
    """The package that carries and runs the chart library.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise MissingDependencyError(
            "charts need the package 'vl-convert-python', which is not installed",
            hint="pip install 'distill-harness[plots]'",
        ) from error
    return vl_convert


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _data(document: Any) -> str:
    """JSON that ends no script element and starts no comment, whatever its texts hold."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _text(text: str) -> str:
    from html import escape

    return escape(text)

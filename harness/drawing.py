"""Charts as Vega-Lite documents: the palette, and the package that draws them."""

from __future__ import annotations

from typing import Any

from harness.errors import MissingDependencyError

ChartSpec = dict[str, Any]


SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"


NEUTRAL = "#8a8a8a"


PALETTE = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
    "#8c6bb1", "#7a9a01", "#a6761d", "#c0392b", "#1b9e9e", "#5d6d7e",
)  # fmt: skip
"""Told apart on light and dark ground, the first eight also by most colour-blind readers."""


VEGA_LITE = "6.1"
"""The version of the chart library that the page carries and files are drawn with."""


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

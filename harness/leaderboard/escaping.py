"""Text from plugins and records made harmless for the place where it is shown."""

from __future__ import annotations

import re
import unicodedata

_ESCAPE_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # control sequences: colours, cursor moves
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f]).*?(?:\x07|\x1b\\|\x9c|$)"  # strings: titles, links
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn"}
_MARKDOWN = re.compile(r"^[-+#]|#(?=\w)|[\\`*\[\]|~$!]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_AUTOLINK = re.compile(r"://|@(?=\w)|(?<=www)\.", re.IGNORECASE)
_FORMULA_START = tuple("=+-@＝＋－＠")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?%?", re.IGNORECASE)


def printable(text: str) -> str:
    """One line without terminal escape codes, control, zero-width or direction characters."""
    spaced = re.sub(r"\s+", " ", _ESCAPE_SEQUENCE.sub("", text))
    return "".join(c for c in spaced if unicodedata.category(c) not in _HIDDEN).strip()


def markdown(text: str) -> str:
    """Plain text that GitHub's Markdown shows as it is: no tables, HTML, links or mentions."""
    safe = "".join(_HTML.get(c, c) for c in _MARKDOWN.sub(r"\\\g<0>", printable(text)))
    return _AUTOLINK.sub(lambda match: f"&#{ord(match[0][0])};{match[0][1:]}", safe)


def spreadsheet(text: str) -> str:
    """Text that a spreadsheet does not take for a formula; plain numbers stay numbers."""
    safe = printable(text)
    if safe.startswith(_FORMULA_START) and not _NUMBER.fullmatch(safe):
        return f"'{safe}"
    return safe

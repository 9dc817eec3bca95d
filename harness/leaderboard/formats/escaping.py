"""Escaping of text from plugins and records for terminals, Markdown, LaTeX and HTML."""

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
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    # taken for a shorthand by babel, or for the start of an opening quote
    '"': r"\char34{}", "`": r"\char96{}", "'": r"\char39{}",
    # after a line's end, `[` and `*` would belong to the command that ended it
    "[": "{[}", "]": "{]}", "*": "{*}",
    "–": r"\textendash{}", "—": r"\textemdash{}", "±": r"$\pm$", "×": r"$\times$",
    "−": "$-$", "≤": r"$\le$", "≥": r"$\ge$", "·": r"$\cdot$", "†": r"$\dagger$",
    "…": r"\dots{}", "ß": r"\ss{}",
    "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}",
    "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u",
    "\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0323": "d",
    "\u0327": "c", "\u0331": "b",
}  # fmt: skip
"""Combining marks and the accents that fonts of every encoding can set."""
_DOTLESS = {"i": r"\i", "j": r"\j"}
_BELOW = {"c", "d", "b"}
"""Accents that leave the dot of a letter where it is."""
_LIGATURE = re.compile(r"-(?=-)|,(?=,)|[?!](?=\\char96)")
"""What a font would join into another sign: dashes, a low quote, ¿ and ¡."""


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


def latex(text: str) -> str:
    """Printable ASCII that LaTeX sets as the text, in a cell, a caption or a note.

    Accented Latin letters and common signs become commands that every engine and font encoding
    has; any other character beyond ASCII becomes its code point, as [U+732B].
    """
    safe = "".join(_latex_character(c) for c in unicodedata.normalize("NFC", printable(text)))
    return _LIGATURE.sub(r"\g<0>{}", safe)


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character.isascii():
        return character
    decomposed = unicodedata.normalize("NFD", character)
    base, marks = decomposed[0], decomposed[1:]
    if marks in _ACCENTS and base.isascii() and base.isalpha():
        accent = _ACCENTS[marks]
        letter = base if accent in _BELOW else _DOTLESS.get(base, base)
        return f"\\{accent}{{{letter}}}"
    return f"{{[}}U+{ord(character):04X}{{]}}"

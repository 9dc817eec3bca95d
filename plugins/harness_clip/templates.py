"""Templates of captions and class texts, filled in with names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])")


def with_article(text: str) -> str:
    """The text with `an` for `a` in front of a vowel."""
    return _ARTICLE.sub(r"\1n ", text)


def filled(templates: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """For each name, the templates filled in with it."""
    return tuple(tuple(with_article(t.format(name)) for t in templates) for name in names)


def settled(templates: Sequence[str], name: str, content: bytes) -> str:
    """One of the templates, settled by the content's hash, filled in."""
    place = hashlib.sha256(content).digest()[0] % len(templates)
    return with_article(templates[place].format(name))

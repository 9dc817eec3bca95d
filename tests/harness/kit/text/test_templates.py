"""Prompt templates: what they may ask for, and what they make of a row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.kit.text.templates import Template


def test_fills_fields_without_the_blanks_around_values() -> None:
    template = Template("Q: {question}\n{options}\nA: ")
    assert template.fields == ("question", "options")
    filled = template.fill({"question": " why? \n", "options": "A. x\nB. y", "unused": "z"})
    assert filled == "Q: why?\nA. x\nB. y\nA: "


def test_doubled_braces_are_plain_ones() -> None:
    assert Template('{{"q": {prompt}}}').fill({"prompt": "x"}) == '{"q": x}'


@given(st.text())
def test_a_value_is_never_read_as_a_template(value: str) -> None:
    assert Template("{a}|{b}").fill({"a": value, "b": "{a}"}) == f"{value.strip()}|{{a}}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("no field at all", "no {field}"),
        ("{", "Single '{'"),
        ("{question.__class__}", "plain name"),
        ("{question!r}", "plain name"),
        ("{question:>9}", "plain name"),
        ("{0}", "plain name"),
        ("{}", "plain name"),
    ],
)
def test_anything_but_plain_names_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Template(text)


def test_an_unknown_field_is_named_with_those_that_are_there() -> None:
    with pytest.raises(UsageError, match="asks for 'promt'") as caught:
        Template("{promt}").check(("prompt", "completion"), "the file")
    assert "Did you mean prompt?" in caught.value.hint
    assert "prompt, completion" in caught.value.hint

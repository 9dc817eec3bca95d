"""Names of components with arguments and options, one by one and in lists."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api import BenchResult
from harness.errors import UsageError
from harness.registry.specs import ComponentSpec, split_specs

words = st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("random", ComponentSpec("random")),
        ("bert:minilm", ComponentSpec("bert", "minilm")),
        ("file:a/b:c.jsonl", ComponentSpec("file", "a/b:c.jsonl")),
        ("dilm[steps=3]", ComponentSpec("dilm", "", {"steps": "3"})),
        (
            "file:x.csv[text=a, label=b]",
            ComponentSpec("file", "x.csv", {"text": "a", "label": "b"}),
        ),
        (
            "less[targets=q,v,epochs=2]",
            ComponentSpec("less", "", {"targets": "q,v", "epochs": "2"}),
        ),
        ("file:data[1]", ComponentSpec("file", "data[1]")),
        ("file:[a,b=c]", ComponentSpec("file", "[a,b=c]")),
    ],
)
def test_a_spec_is_read(text: str, spec: ComponentSpec) -> None:
    assert ComponentSpec.parse(text) == spec


@given(words, words, st.dictionaries(words, words, min_size=1, max_size=3))
def test_what_is_written_is_read_back(name: str, argument: str, options: dict[str, str]) -> None:
    inner = ",".join(f"{option}={value}" for option, value in options.items())
    assert ComponentSpec.parse(f"{name}:{argument}[{inner}]") == ComponentSpec(
        name, argument, options
    )


def test_commas_in_brackets_do_not_divide_a_list() -> None:
    assert split_specs("a, b[x=1,y=2],c:d,") == ["a", "b[x=1,y=2]", "c:d"]
    assert split_specs("a],b") == ["a]", "b"]


@given(st.lists(words, max_size=4))
def test_a_list_of_names_is_split_at_commas(names: list[str]) -> None:
    assert split_specs(",".join(names)) == names


def test_configurations_of_one_method_stand_on_one_board(
    run_toy: Callable[..., BenchResult],
) -> None:
    result = run_toy(distillers=["first", "first[skip=2]"])
    labels = {row.distiller for row in result.board().tables[0].rows}
    assert {"first [skip=0]", "first [skip=2]"} <= labels
    assert len({record.key for record in result.results.filter(distiller="first")}) == 6


def test_an_option_in_brackets_goes_before_the_suites(run_toy: Callable[..., BenchResult]) -> None:
    result = run_toy(distillers=["first[skip=2]"], settings=["distiller.first.skip=1"])
    options = {
        record.distiller.options["skip"] for record in result.results.filter(distiller="first")
    }
    assert options == {2}


def test_an_unknown_option_in_brackets_is_named(run_toy: Callable[..., BenchResult]) -> None:
    with pytest.raises(UsageError, match="'first' has no option 'skipp'"):
        run_toy(distillers=["first[skipp=2]"])

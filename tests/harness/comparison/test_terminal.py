"""How a comparison reads on a terminal, and that hostile names stay text there."""

from __future__ import annotations

import io
import json
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from harness.comparison.comparing import compare
from harness.comparison.findings import Comparison
from harness.comparison.terminal import print_comparison
from harness.records.record import PackedArray

Command = Callable[..., Any]
HOSTILE = "[red]\x1b[31m\x1b]0;title\x07\u202e evil\n"


def shown(comparison: Comparison, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_comparison(comparison, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def line_of(text: str, start: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(start)]
    return " ".join(found.split())


@pytest.fixture
def comparison(write: Any, make_record: Any) -> Comparison:
    records = [
        *make_record.seeds("herding", [0.700, 0.735, 0.715], options={"metric": "cosine"}),
        *make_record.seeds("random", [0.610, 0.645, 0.630]),
    ]
    return compare("herding", "random", folder=write("r", records))


def test_a_row_reads_as_on_a_board(comparison: Comparison) -> None:
    lines = [line for line in shown(comparison).splitlines() if line.startswith("herding – ")]
    scores, items, *_ = (" ".join(line.split()) for line in lines)
    name = "herding – random @ 10/class"
    assert scores == f"{name} 3 71.7 ± 4.4 62.8 ± 4.4 +8.8 [+8.1, +9.6] <0.001 A is better"
    assert items.startswith(f"{name} 200 × 3 +8.8 [")
    assert items.endswith("] 377 53 0 170 <0.001, <0.001, <0.001")


def test_what_changed_stands_before_the_scores(comparison: Comparison) -> None:
    text = shown(comparison)
    assert line_of(text, "method  ") == "method herding random"
    assert line_of(text, "method option") == "method option metric cosine –"
    assert text.index("method option") < text.index("verdict")


def test_many_options_that_only_one_method_has_are_counted(write: Any, make_record: Any) -> None:
    options = {f"option_{number}": number for number in range(9)}
    records = [
        *make_record.seeds("a", [0.7, 0.8], options={**options, "shared": 1}),
        *make_record.seeds("b", [0.6, 0.7], options={"shared": 2}),
    ]
    text = shown(compare("a", "b", folder=write("r", records)))
    assert line_of(text, "options of its own") == "options of its own 9, named by --json –"
    assert line_of(text, "method option") == "method option shared 1 2"


def test_items_are_named_by_position_with_both_scores(comparison: Comparison) -> None:
    text = shown(comparison)
    assert line_of(text, "  for A").startswith("for A: 129 (1 : 0), 130 (1 : 0),")
    assert line_of(text, "  for B") == (
        "for B: none; 0 right under B and wrong under A in all 3 runs"
    )


def test_the_test_and_its_family_are_explained(comparison: Comparison) -> None:
    text = shown(comparison)
    assert "1 tested as one family, p Holm-adjusted, 0.05 needed" in text
    assert "seeds: distilling/fitting 0/0, 1/0, 2/0" in text


def test_one_seed_shows_no_interval_and_says_so(write: Any, make_record: Any) -> None:
    records = [make_record("a", 0.7), make_record("b", 0.6)]
    text = shown(compare("a", "b", folder=write("r", records)))
    assert "+10.0 – one seed: no interval, no verdict" in " ".join(text.split())
    assert "bootstrap" not in text


def test_what_was_not_compared_is_said(write: Any, make_record: Any) -> None:
    fractions = {"score": PackedArray.pack(np.full(200, 0.5))}
    before = [*make_record.seeds("a", [0.5, 0.6, 0.7], items=fractions), make_record("alone")]
    after = [replace(r, protocol="protocol-b") for r in make_record.seeds("a", [0.6, 0.7])]
    text = shown(compare(write("one", before), write("two", after), allow_mixed=True))
    assert "MIXED, so the scores answer different questions: sst2" in text
    assert "a @ 10/class: only A has seeds 2/0, which are left out" in text
    assert "a @ 10/class: McNemar does not apply, item scores are not 0 or 1" in text
    assert "not compared: sst2 · bert:minilm · classification / alone @ 10/class: only in A" in text


def test_the_same_measurement_twice_is_said_once_for_all_rows(write: Any, make_record: Any) -> None:
    records = [*make_record.seeds("a", [0.5, 0.6]), *make_record.seeds("b", [0.5, 0.6])]
    text = shown(compare(write("one", records), write("two", records)))
    assert "nothing changed" in text
    assert "all rows: the same item scores on both sides, in every run" in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_hostile_names_stay_text_and_lines_fit(write: Any, make_record: Any, width: int) -> None:
    records = [
        replace(record, key=f"key-{number}")
        for number, record in enumerate(
            [
                *make_record.seeds("a", [0.7, 0.8], options={HOSTILE: HOSTILE}, task=HOSTILE),
                *make_record.seeds("b", [0.6, 0.5], task=HOSTILE),
            ]
        )
    ]
    text = shown(compare("a", "b", folder=write("r", records)), width)
    assert {c for c in text if unicodedata.category(c) in ("Cc", "Cf")} == {"\n"}
    assert "[red]" in text
    assert max(map(len, text.splitlines())) <= width


def test_the_command_prints_text_or_json(command: Command, write: Any, make_record: Any) -> None:
    write("r", [*make_record.seeds("a", [0.7, 0.8]), *make_record.seeds("b", [0.6, 0.75])])
    text = command("compare", "a", "b", "--in", "r", "--items", "2")
    assert text.returncode == 0, text.stderr
    assert "no evidence of a difference" in text.stdout
    done = command("compare", "a", "b", "--in", "r", "--items", "2", "--json")
    document = json.loads(done.stdout)
    assert document["rows"][0]["verdict"] == "no evidence of a difference"
    assert len(document["rows"][0]["items"]["most_first"]) == 2


def test_the_command_answers_a_wrong_name_with_one_error(
    command: Command, write: Any, make_record: Any
) -> None:
    write("r", make_record.seeds("herding", [0.7, 0.8]))
    done = command("compare", "herding", "herdin", "--in", "r")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean herding?" in done.stderr
    assert "Traceback" not in done.stderr

"""The LaTeX board: which means are bold, and that hostile text stays text, in TeX too."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.leaderboard.board import Board, build_board
from harness.leaderboard.formats.escaping import latex, printable
from harness.leaderboard.formats.latex import Latex, bold_rows
from harness.records.record import Cost, Costs
from harness.records.results import Results

HOSTILE = (
    r"\input{/etc/passwd}\end{document} $x_1^2$ 100% #1 & ~ {brace "
    '\x1b[31m\x00\x07\u202e 猫 žluťoučký ðþ ½ \n\n[12pt] *x ^^5cend{document} "a" `b\' -- <>'
)
RANDOM = [0.610, 0.645, 0.630]
BEST = [0.700, 0.735, 0.715]
NEAR = [0.650, 0.760, 0.690]
BELOW = [0.680, 0.713, 0.697]
TOKEN = re.compile(
    r"\\(?:textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textendash"
    r"|textemdash|dots|ss|ae|AE|oe|OE|o|O|l|L|i|char\d+)\{\}"
    r"|\\[{}$&#%_]"
    r"|\\[`'^~=u.\"rHvdcb]\{(?:[A-Za-z]|\\[ij])\}"
    r"|\$\\?[a-z-]+\$|\{[\[\]*]\}|(?<=[-,?!])\{\}"
    r"|[A-Za-z0-9 !()+,\-./:;=?@]"
)
"""Everything that escaped text may hold: no lone special character is among it."""
MEANS = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^",
    r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", r"\char34{}": '"',
    r"\char96{}": "`", r"\char39{}": "'", "{[}": "[", "{]}": "]", "{*}": "*", "{}": "",
    **{f"\\{c}": c for c in "{}$&#%_"},
}  # fmt: skip


def results_of(*groups: Any) -> Results:
    return Results(tuple(record for group in groups for record in group))


def rendered(results: Results, **options: Any) -> str:
    return Latex(**options).render(build_board(results))


def bold_in(results: Results) -> set[str]:
    (table,) = build_board(results).tables
    return set(bold_rows(table.rows))


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


class TestBold:
    def test_the_best_and_what_a_test_cannot_tell_from_it(self, make_record: Any) -> None:
        values = {"best": BEST, "near": NEAR, "below": BELOW, "random": RANDOM}
        results = results_of(*(make_record.seeds(name, v) for name, v in values.items()))
        p = {n: scipy.stats.ttest_rel(BEST, values[n]).pvalue for n in ("near", "below", "random")}
        order = sorted(p, key=lambda name: p[name])
        adjusted = np.maximum.accumulate([p[n] * (3 - i) for i, n in enumerate(order)])
        expected = {n for n, value in zip(order, adjusted, strict=True) if value >= 0.05}
        assert expected == {"near"}
        assert bold_in(results) == {"best @ 10/class", "near @ 10/class"}

    def test_what_differs_alone_may_tie_in_a_crowd(self, make_record: Any) -> None:
        other = [0.64, 0.70, 0.65]
        assert 0.02 < scipy.stats.ttest_rel(BEST, other).pvalue < 0.05
        pair = [make_record.seeds("best", BEST), make_record.seeds("other", other)]
        assert bold_in(results_of(*pair)) == {"best @ 10/class"}
        crowd = [make_record.seeds(f"m{i}", [0.5, 0.7, 0.3]) for i in range(4)]
        assert "other @ 10/class" in bold_in(results_of(*pair, *crowd))

    def test_each_budget_has_its_own_best_and_the_reference_none(self, make_record: Any) -> None:
        results = results_of(
            make_record.seeds("a", [0.70, 0.71, 0.73], budget="5/class"),
            make_record.seeds("b", [0.60, 0.62, 0.61], budget="5/class"),
            make_record.seeds("a", [0.60, 0.62, 0.61], budget="10/class"),
            make_record.seeds("b", [0.70, 0.71, 0.73], budget="10/class"),
            make_record.seeds("full", [0.9, 0.9, 0.9], budget="100%"),
        )
        assert bold_in(results) == {"a @ 5/class", "b @ 10/class"}

    def test_one_seed_makes_only_the_best_bold(self, make_record: Any) -> None:
        results = results_of([make_record("a", 0.7), make_record("b", 0.69)])
        assert bold_in(results) == {"a @ 10/class"}
        assert "with one seed nothing is tested" in rendered(results)

    def test_equal_means_are_all_bold(self, make_record: Any) -> None:
        results = results_of([make_record("a", 0.7), make_record("b", 0.7)])
        assert bold_in(results) == {"a @ 10/class", "b @ 10/class"}

    def test_a_difference_without_spread_is_no_tie(self, make_record: Any) -> None:
        results = results_of(make_record.seeds("a", [0.6, 0.7]), make_record.seeds("b", [0.5, 0.6]))
        assert bold_in(results) == {"a @ 10/class"}

    def test_an_incomplete_row_is_not_bold(self, make_record: Any) -> None:
        results = results_of(make_record.seeds("a", [0.6, 0.7]), [make_record("b", 0.9)])
        assert bold_in(results) == {"a @ 10/class"}

    def test_seeds_are_paired_by_number_and_not_by_order(self, make_record: Any) -> None:
        straight = results_of(make_record.seeds("best", BEST), make_record.seeds("below", BELOW))
        assert bold_in(replace(straight, records=straight.records[::-1])) == bold_in(straight)

    def test_the_note_says_what_was_rendered(self, make_record: Any) -> None:
        results = results_of(make_record.seeds("a", BEST), make_record.seeds("b", NEAR))
        assert "Holm-adjusted over the comparisons with the best" in rendered(results)
        for name in "ab":
            assert line_of(rendered(results), f"{name} @").count(r"\textbf") == 1

    def test_it_is_the_mean_that_is_bold(self, make_record: Any) -> None:
        text = rendered(results_of(make_record.seeds("a", BEST), make_record.seeds("b", BELOW)))
        assert r"& \textbf{71.7} $\pm$ 4.4 &" in line_of(text, "a @")
        assert r"\textbf" not in line_of(text, "b @")


class TestTables:
    @pytest.fixture
    def text(self, make_record: Any) -> str:
        return rendered(
            results_of(
                make_record.seeds("random", RANDOM),
                make_record.seeds("dilm", BEST, distill_seconds=83.21),
                make_record.seeds("partial", [0.6]),
                make_record.seeds("flat-one", [0.5] * 3, predictions=np.zeros(200, dtype=np.uint8)),
                make_record.seeds("full", [0.87, 0.88, 0.875], budget="100%", one_set=True),
            )
        )

    def test_a_row_reads_as_in_the_other_formats(self, text: str) -> None:
        assert line_of(text, "dilm @").startswith(
            r"dilm @ 10/class & 3 & \textbf{71.7} $\pm$ 4.4 & +8.8 {[}+8.1, +9.6{]}"
            r" & \textless{}0.001"
        )
        assert line_of(text, "partial @").startswith(r"partial @ 10/class & 1/3 & \textendash{} &")
        assert r"& 1.8 & 20 & 2.4 & 83.2 & 1.0 & 1,200 \\" in text

    def test_a_minus_is_one_and_a_hyphen_stays(self, text: str) -> None:
        assert "$-$12.8 {[}$-$17.2, $-$8.5{]}" in line_of(text, "flat-one @")

    def test_the_reference_stands_below_a_rule(self, text: str) -> None:
        lines = text.splitlines()
        places = [i for i, line in enumerate(lines) if re.match(r"full @ .* & ", line)]
        assert len(places) == 2
        for place in places:
            assert lines[place - 1] == r"\midrule"
            assert lines[place + 1] == r"\bottomrule"

    def test_the_caption_names_what_was_measured_and_how(self, text: str) -> None:
        caption = line_of(text, r"\caption")
        for part in ("Task sst2", "student bert:minilm", "evaluator classification", "$n$ = 3",
                     r"95\,\% $t$ interval", "from random at the same budget"):  # fmt: skip
            assert part in caption

    def test_degenerate_rows_are_marked_and_explained(self, text: str) -> None:
        assert r"$\dagger$" in line_of(text, "flat-one @")
        assert "predicts one and the same class in 3 of 3 runs" in text

    def test_every_line_of_a_table_has_as_many_cells(self, text: str) -> None:
        for table in re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL):
            rows = [line for line in table.splitlines() if line.endswith(r" \\")]
            assert len(rows) == 6
            assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1

    def test_it_is_ascii_that_needs_booktabs_alone(self, text: str) -> None:
        code = [line for line in text.splitlines() if not line.startswith("%")]
        assert "\n".join(code).isascii()
        assert text.startswith("% ")
        assert r"\usepackage{booktabs}" in text.splitlines()[0]

    def test_the_facts_are_comments(self, text: str) -> None:
        assert "% protocol: protocol-a" in text.splitlines()
        assert "% seeds: distilling 0, 1, 2; fitting 0" in text.splitlines()

    def test_budgets_are_set_apart(self, make_record: Any) -> None:
        results = results_of(make_record.seeds("a", [0.6, 0.7]),
                             make_record.seeds("a", [0.6, 0.7], budget="20/class"))  # fmt: skip
        lines = rendered(results).splitlines()
        assert lines[lines.index(r"\addlinespace") + 1].startswith("a @ 20/class")

    def test_labels_are_unique_and_fit_for_ref(self, make_record: Any) -> None:
        tasks = ["sst2!", "sst2?", "猫"]
        records = [make_record("a", 0.7, task=task, student="猫", evaluator="猫") for task in tasks]
        found = re.findall(r"\\label\{(.*?)\}", rendered(results_of(records)))
        assert found == ["tab:sst2", "tab:sst2-sizes", "tab:sst2-2", "tab:sst2-2-sizes",
                         "tab:board", "tab:board-sizes"]  # fmt: skip

    def test_without_cost_it_does_not_depend_on_the_machine(self, make_record: Any) -> None:
        results = results_of(
            make_record.seeds("a", [0.6, 0.65]), make_record.seeds("b", [0.7, 0.8])
        )
        slower = [
            replace(
                record,
                costs=Costs(Cost(99, 7, 8), Cost(98, 6, 5), Cost(97, 5, 4)),
                provenance=replace(record.provenance, processor="another", commit="f" * 12),
            )
            for record in results
        ]
        assert rendered(results, cost=False) == rendered(results_of(slower), cost=False)
        assert rendered(results) != rendered(results_of(slower))
        assert "device MB" in rendered(results_of(slower))
        assert "distill s" not in rendered(results, cost=False)

    def test_columns_of_plugins_are_shown(self, make_record: Any) -> None:
        board = build_board(results_of([make_record("a", 0.7)]))
        text = Latex().render(board.with_columns([{"kg_CO2": {"a @ 10/class": "5%"}}]))
        assert r"& kg\_CO2 \\" in text
        assert line_of(text, "a @").endswith(r"& 5\% \\")

    def test_what_several_tables_say_together_is_a_table_too(self, make_record: Any) -> None:
        values = {"a": BEST, "b": NEAR, "c": RANDOM}
        groups = [make_record.seeds(name, scores, task=task)
                  for task in ("sst2", "qqp") for name, scores in values.items()]  # fmt: skip
        text = rendered(results_of(*groups))
        caption = line_of(text, r"\caption{average rank over 2 tasks")
        assert r"bert:minilm $\cdot$ 10/class" in caption
        assert line_of(text, "a &").startswith("a & 1.00")
        assert "Nemenyi" in text

    def test_it_is_a_registered_format(self, toy_host: Any) -> None:
        component = toy_host.registry.find("format", "latex")
        assert component.load() is Latex


class TestEscaping:
    @pytest.mark.parametrize(
        ("text", "safe"),
        [
            ("plain-name_1", r"plain-name\_1"),
            (r"\input{x}", r"\textbackslash{}input\{x\}"),
            ("50% & #1 $x^2~", r"50\% \& \#1 \$x\textasciicircum{}2\textasciitilde{}"),
            ("[12pt]*", "{[}12pt{]}{*}"),
            ("a--b", "a-{}-b"),
            ("žluťoučký Łódź naïve", r"\v{z}lu\v{t}ou\v{c}k\'{y} \L{}\'{o}d\'{z} na\"{\i}ve"),
            ("ị", r"\d{i}"),
            ("a ± b – c · d", r"a $\pm$ b \textendash{} c $\cdot$ d"),
            ("猫", "{[}U+732B{]}"),
            ("x\u202e\u200b\x00\x1b[31m", "x"),
            ("a\n\nb", "a b"),
        ],
    )
    def test_what_latex_sets_as_it_is(self, text: str, safe: str) -> None:
        assert latex(text) == safe

    @settings(max_examples=300)
    @given(st.text() | st.text(alphabet="\\{}$%#_~^&[]*-<>|\"'`,?! a1\n\x07ž猫–"))
    def test_no_character_keeps_a_meaning_of_its_own(self, text: str) -> None:
        safe = latex(text)
        assert safe.isascii()
        assert "".join(m[0] for m in TOKEN.finditer(safe)) == safe

    @settings(max_examples=300)
    @given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
    def test_ascii_text_can_be_read_back(self, text: str) -> None:
        tokens = [match[0] for match in TOKEN.finditer(latex(text))]
        assert "".join(MEANS.get(token, token) for token in tokens) == printable(text)


def compiled(folder: Path, tables: str) -> subprocess.CompletedProcess[str]:
    """The tables input into a paper, which says in its log that it came past them."""
    engines: Mapping[str, list[str]] = {
        "pdflatex": ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"],
        "tectonic": ["--only-cached", "--print", "--untrusted"],
    }
    engine = next((name for name in engines if shutil.which(name)), None)
    if engine is None:
        pytest.skip("neither pdflatex nor tectonic is on PATH")
    (folder / "board.tex").write_text(tables, encoding="utf-8")
    (folder / "paper.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
        "\\input{board}\n\\typeout{PAST THE TABLES}\n\\end{document}\n"
    )
    return subprocess.run(
        [engine, *engines[engine], "paper.tex"],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )


class TestCompiling:
    @pytest.fixture
    def hostile(self, make_record: Any) -> Board:
        records = [
            replace(
                make_record(
                    f"{HOSTILE}{n}", 0.7, distill_seed=seed, task=HOSTILE, student=HOSTILE,
                    evaluator=HOSTILE, predictions=np.zeros(200, dtype=np.uint8),
                ),
                key=f"{n}-{seed}", main=HOSTILE, metrics={HOSTILE: 0.7 + n * seed / 50},
                suite=HOSTILE, protocol=HOSTILE,
            )
            for n in (0, 1) for seed in (0, 1)
        ]  # fmt: skip
        board = build_board(results_of(records))
        return board.with_columns([{HOSTILE: {row.label: HOSTILE for row in board.tables[0].rows}}])

    def test_hostile_text_compiles_and_runs_nothing(self, hostile: Board, tmp_path: Path) -> None:
        done = compiled(tmp_path, Latex().render(hostile))
        assert done.returncode == 0, done.stdout[-3000:]
        assert "PAST THE TABLES" in done.stdout
        assert "(/etc/passwd" not in done.stdout

    def test_every_escaped_character_compiles(self, make_record: Any, tmp_path: Path) -> None:
        characters = [chr(code) for code in (*range(0x20, 0x250), *range(0x1E00, 0x2100), 0x732B)]
        names = [" ".join(characters[i : i + 20]) for i in range(0, len(characters), 20)]
        records = [make_record(f"{number} {name}", 0.5) for number, name in enumerate(names)]
        records = [replace(record, key=str(number)) for number, record in enumerate(records)]
        done = compiled(tmp_path, Latex().render(build_board(results_of(records))))
        assert done.returncode == 0, done.stdout[-3000:]
        assert "PAST THE TABLES" in done.stdout

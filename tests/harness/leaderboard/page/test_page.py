"""The HTML page: one safe file, and what its script does in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.api import load_results
from harness.errors import MissingDependencyError
from harness.leaderboard.board import Board, build_board
from harness.leaderboard.page.document import Html
from harness.leaderboard.page.payload import payload
from harness.records.curves import Curve
from harness.records.results import Results

ROOT = Path(__file__).parents[4]
HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "\x1b[31m<!--{{constructor}}${1}"
)


def board_of(*groups: Any, **options: Any) -> Board:
    return build_board(Results(tuple(record for group in groups for record in group)), **options)


@pytest.fixture(scope="module")
def board(make_record: Any) -> Board:
    """Two tasks, two budgets and two students, with curves and samples."""

    def rich(record: Any) -> Any:
        return replace(
            record,
            curves={"fit: loss": Curve((1, 2), (0.7, 0.4))},
            distilled=replace(record.distilled, samples=({"text": "a fine film", "label": "1"},)),
        )

    levels = {"random": 0.60, "herding": 0.70, "dilm": 0.65}
    records = [
        rich(record)
        for task in ("sst2", "mnli")
        for student in ("bert:minilm", "roberta")
        for budget, gain in (("10/class", 0.0), ("20/class", 0.05))
        for method, level in levels.items()
        for record in make_record.seeds(
            method, [level + gain, level + gain + 0.01], task=task, student=student, budget=budget
        )
    ]
    return board_of(records)


@pytest.fixture(scope="module")
def shown(board: Board) -> Any:
    return payload(board)


class TestPayload:
    def test_every_table_has_its_cells_under_every_metric(self, shown: Any) -> None:
        assert shown["metrics"] == ["accuracy", "macro_f1"]
        assert len(shown["tables"]) == 4
        for table in shown["tables"]:
            for cells in table["by_metric"].values():
                widths = {len(row["cells"]) for row in cells["rows"]}
                assert widths == {len(cells["columns"])}

    def test_every_row_has_its_runs_with_seeds_command_and_provenance(self, shown: Any) -> None:
        for table in shown["tables"]:
            for row in table["by_metric"]["accuracy"]["rows"]:
                runs = shown["runs"][table["title"]][row["label"]]
                assert [run["distill_seed"] for run in runs] == [0, 1]
                assert runs[0]["command"] == "harness bench"
                assert runs[0]["provenance"]["commit"] == "0123456789ab"

    def test_a_set_that_several_runs_share_is_given_once(self, make_record: Any) -> None:
        fits = [make_record("dilm", fit_seed=fit) for fit in range(3)]
        (runs,) = payload(board_of(fits))["runs"].values()
        assert [run["set"] is None for run in runs["dilm @ 10/class"]] == [False, True, True]

    def test_the_points_of_the_charts_are_the_rows_means_in_percent(self, shown: Any) -> None:
        point = next(p for p in shown["points"]["accuracy"] if p["label"] == "dilm @ 20/class")
        assert point["score"] == pytest.approx(70.5)
        assert point["low"] < point["score"] < point["high"]

    def test_control_characters_are_gone(self, make_record: Any) -> None:
        text = json.dumps(payload(board_of([make_record(HOSTILE, task=HOSTILE)])))
        assert "\\u001b" not in text


@pytest.fixture(scope="module")
def page(board: Board) -> str:
    return Html().render(board)


class TestDocument:
    def test_it_needs_no_network(self, page: str) -> None:
        own = re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL)
        assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", own)
        assert "@import" not in own
        assert "url(" not in own

    def test_the_data_cannot_end_its_script(self, make_record: Any) -> None:
        page = Html(title=HOSTILE).render(board_of([make_record(HOSTILE, task=HOSTILE)]))
        data = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
        assert not set(data) & set("<>&")
        assert json.loads(data)["tables"][0]["task"].startswith("</script>")
        assert "<title></script>" not in page

    def test_without_the_chart_library_it_says_what_to_install(
        self, board: Board, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "vl_convert", None)
        with pytest.raises(MissingDependencyError, match="vl-convert-python") as caught:
            Html().render(board)
        assert "distill-harness[plots]" in (caught.value.hint or "")


def chromium() -> str | None:
    """A browser to look with: the variable HARNESS_CHROMIUM, or one on the path."""
    names = (
        os.environ.get("HARNESS_CHROMIUM", ""),
        "chromium",
        "chromium-browser",
        "google-chrome",
    )
    return next((found for name in names if name and (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    executable = chromium()
    if executable is None:
        pytest.skip("no Chromium on the path, and HARNESS_CHROMIUM names none")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield running
        running.close()


class Visit:
    """A page that was opened, with everything its console complained about."""

    def __init__(self, browser: Any, path: Path, **context: Any) -> None:
        self.complaints: list[str] = []
        self.page = browser.new_context(**{"offline": True, **context}).new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("figure svg, #tables section")

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def column(self, title: str, name: str) -> list[str]:
        """The cells of one column of one table, from the top."""
        section = self.page.locator("#tables section", has=self.page.get_by_role(
            "heading", name=title, exact=True))  # fmt: skip
        heads = [text.strip(" ▲▼") for text in section.locator("thead th").all_inner_texts()]
        cells = section.locator(f"tbody tr > :nth-child({heads.index(name) + 1})")
        return [text.strip() for text in cells.all_inner_texts()]

    def close(self) -> None:
        self.page.context.close()


@pytest.fixture(scope="module")
def made_page(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "board.html"
    path.write_text(Html().render(board), encoding="utf-8")
    return path


@pytest.fixture
def visit(browser: Any, made_page: Path) -> Iterator[Visit]:
    opened = Visit(browser, made_page)
    yield opened
    opened.close()
    assert opened.complaints == []


TITLE = "sst2 · bert:minilm · classification"


@pytest.mark.xdist_group("browser")
class TestBrowser:
    def test_the_committed_results_open_sort_filter_and_show_a_cell(
        self, browser: Any, tmp_path: Path
    ) -> None:
        # The other board on SST-2 has another recipe, so it cannot stand beside sst2-local.
        folders = {folder.parent for folder in ROOT.glob("results/*/records")}
        results = load_results(*sorted(folders - {ROOT / "results/dilm-local"}))
        path = tmp_path / "board.html"
        path.write_text(Html().render(build_board(results)), encoding="utf-8")
        opened = Visit(browser, path)
        page = opened.page
        page.wait_for_selector("figure svg")
        title = page.locator("#tables h2").first.inner_text()
        page.get_by_role("button", name="method").first.click()
        names = opened.column(title, "method")
        assert names == sorted(names)
        page.get_by_role("combobox", name="Task").select_option(index=1)
        assert page.locator("#tables section").count() == 1
        page.locator("tbody th button").first.click()
        assert "Made by" in page.locator("dialog").inner_text()
        opened.close()
        assert opened.complaints == []

    def test_a_click_on_a_heading_sorts_and_a_second_turns_it_round(self, visit: Visit) -> None:
        heading = visit.page.locator("#tables section").filter(has_text=TITLE).get_by_role(
            "button", name="accuracy"
        )  # fmt: skip
        heading.click()
        down = visit.column(TITLE, "accuracy %")
        heading.click()
        up = visit.column(TITLE, "accuracy %")
        assert [cell[:4] for cell in down] == sorted((cell[:4] for cell in down), reverse=True)
        assert up[0] == down[-1]
        sorted_by = visit.page.locator("th[aria-sort=ascending]")
        assert sorted_by.count() == 1

    def test_filters_keep_what_is_asked_for(self, visit: Visit) -> None:
        page = visit.page
        page.get_by_role("combobox", name="Task").select_option("mnli")
        page.get_by_role("combobox", name="Student").select_option("roberta")
        page.get_by_role("combobox", name="Budget").select_option("10/class")
        page.get_by_role("searchbox", name="Method").fill("HERD")
        title = "mnli · roberta · classification"
        assert page.locator("#tables h2").all_inner_texts() == [title]
        assert visit.column(title, "method") == ["herding @ 10/class"]
        assert page.get_by_role("status").inner_text() == "1 of 24 rows shown"

    def test_another_metric_brings_its_own_column(self, visit: Visit) -> None:
        visit.page.get_by_role("combobox", name="Metric").select_option("macro_f1")
        assert visit.column(TITLE, "macro_f1 %")

    def test_a_cell_shows_its_runs_command_curves_samples_and_provenance(
        self, visit: Visit
    ) -> None:
        visit.page.get_by_role("button", name="dilm @ 10/class").first.click()
        dialog = visit.page.get_by_role("dialog")
        dialog.locator("figure svg").wait_for()
        text = dialog.inner_text()
        for part in ("harness bench", "0123456789ab", "a fine film", "Learning curves", "65"):
            assert part in text

    def test_the_keyboard_alone_opens_and_closes_a_cell(self, visit: Visit) -> None:
        page = visit.page
        page.locator("tbody th button").first.focus()
        page.keyboard.press("Enter")
        assert page.get_by_role("dialog").is_visible()
        page.keyboard.press("Escape")
        assert not page.get_by_role("dialog").is_visible()

    def test_charts_are_named_for_readers_of_screens(self, visit: Visit) -> None:
        visit.page.wait_for_selector("figure svg")
        described = visit.page.locator("figure [aria-label]").first.get_attribute("aria-label")
        assert described
        assert visit.page.locator("table caption").count() > 0
        assert visit.page.locator("html").get_attribute("lang") == "en"

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [360, 1280])
    def test_it_fits_the_window_in_both_themes(
        self, browser: Any, made_page: Path, width: int, scheme: str
    ) -> None:
        opened = Visit(
            browser, made_page, viewport={"width": width, "height": 800}, color_scheme=scheme
        )
        page = opened.page
        page.wait_for_selector("figure svg")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
        opened.close()
        assert opened.complaints == []

    def test_the_button_switches_the_theme(self, visit: Visit) -> None:
        before = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        visit.page.get_by_role("button", name="Switch between light and dark").click()
        after = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert before != after

    def test_hostile_names_stay_text(self, browser: Any, make_record: Any, tmp_path: Path) -> None:
        records = make_record.seeds(HOSTILE, [0.6, 0.7], task=HOSTILE, student=HOSTILE)
        path = tmp_path / "hostile.html"
        path.write_text(Html().render(board_of(records)), encoding="utf-8")
        opened = Visit(browser, path)
        opened.page.locator("tbody th button").first.click()
        assert opened.page.title() == "harness leaderboard"
        assert opened.page.locator("img").count() == 0
        assert "onerror" in opened.page.locator("dialog h2").inner_text()
        opened.close()
        assert opened.complaints == []

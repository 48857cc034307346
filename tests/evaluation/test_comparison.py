"""Reports of several judges: names, comparisons, tables, and the page."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from rich.console import Console

from guardrail.evaluation.cells import Cells, to_markdown, to_rich
from guardrail.evaluation.comparison import Report
from guardrail.evaluation.page import to_html
from guardrail.evaluation.runner import Run
from guardrail.evaluation.tables import tables
from tests.browsing import CHROMIUM, chromium, words_outside
from tests.evaluation.judged_rows import judgement, row, trace

RISKS = "uscs" * 6
ROWS = tuple(
    row(
        risk, f"{target}{i}", answer=target == "r", source=f"set{i % 2}", lang=("en", "de")[i % 2], refusal=i % 2 > 0,
        categories=("PII",) if risk != "s" else (),
    )
    for target in "pr"
    for i, risk in enumerate(RISKS)
)  # fmt: skip


def run(name: str, calls: str) -> Run:
    """A run over `ROWS`; calls are repeated."""
    said = [
        judgement(
            calls[i % len(calls)], category="Violent" if i % 3 else "PII", refusal=i % 3 > 0, stop_token=4,
            onset_token=2, trace=trace("scu" * 3, onset_char=2, end_token=3),
        )
        for i in range(len(ROWS))
    ]  # fmt: skip
    return Run(name, {"model": name, "model_sha256": "f" * 64}, ROWS, tuple(said), 1.5)


REPORT = Report.of([run("one", "uscs"), run("two", "ucss"), run("two", "s")], published_names=True)


def titled(title: str) -> Cells:
    """The table whose title begins like this."""
    return next(cells for cells in tables(REPORT) if cells.title.startswith(title))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with chromium() as running:
        yield running


def test_judges_get_names_of_their_own() -> None:
    """The second of a name is numbered, and every other is compared with the first."""
    assert [one.judge for one in REPORT.runs] == ["one", "two", "two 2"]
    assert [(one.first, one.second) for _, one in REPORT.pairings] == [("one", "two"), ("one", "two 2")] * 2


def test_a_number_never_makes_two_names_alike() -> None:
    """Else one of the two would be missing in the JSON."""
    names = ["two", "two", "two 2", "two"]
    found = Report.of([run(name, "u") for name in names])
    assert len(found.to_json()) == len(names)


def test_false_positives_on_ordinary_prompts_count_questions() -> None:
    """Twelve copies of one: the interval is one row's, unless told otherwise."""
    calm = Run("one", {}, (row("s"),) * 12, (judgement("s"),) * 12, 1.0)
    shared, alone = (
        Report.of([calm], ("made",), is_clustered=shared).to_json()["one"]["ordinary"]["false_positives"]
        for shared in (True, False)
    )
    assert shared["value"] == alone["value"] == 0.0
    assert shared["n"] == alone["n"] == 12
    assert shared["high"] > 2 * alone["high"]


def test_brackets_and_bars_in_names_are_text() -> None:
    """Sources are called as their makers like."""
    cells = Cells("of [bold]", ("[red]source", "a|b"), [("data [test]", "[/]"), ("x|y", "1")], "note [i]")
    console = Console(width=100)
    with console.capture() as shown:
        console.print(to_rich(cells))
    for text in ("of [bold]", "[red]source", "data [test]", "[/]", "note [i]"):
        assert text in shown.get(), text
    assert "| x\\|y | 1 |" in to_markdown(cells)


def test_json_holds_every_figure_and_is_plain() -> None:
    """Today's keys and the new ones; the rows on which two judges differ by source and id."""
    told = json.loads(json.dumps({**REPORT.to_json(), "comparisons": REPORT.comparisons()}))
    section = told["one"]["response"]
    assert set(section) == {
        "overall", "by_source", "by_language", "language_gap", "by_category", "categories", "latency", "failures",
        "macro", "confusion", "refusal", "calibration", "curves", "streaming", "streaming_by_language",
    }  # fmt: skip
    assert set(section["streaming_by_language"]) == {"de", "en"}
    assert section["macro"]["f1_best_mode_oracle"]["value"] >= section["macro"]["f1_strict"]["value"]
    first = told["comparisons"][0]
    assert first["differing"][0] == ["set1", "p1"]
    assert len(first["differing"]) == 12


def test_the_oracle_is_called_what_it_is_and_sorts_nothing() -> None:
    """It stands last, and judges stay in their order."""
    cells = titled("Prompts, means over data sets")
    assert cells.header[-1] == "F1 best mode (oracle)"
    assert [line[0] for line in cells.rows] == ["one", "two", "two 2"]
    assert "test labels" in cells.note


def test_published_names_are_swapped_and_told() -> None:
    """Each source twice a judge; the script's rule sees no Unsafe pair in these answers."""
    cells = titled("Responses, as the published script prints them")
    assert {line[2:4] for line in cells.rows} == {("strict", "safe"), ("loose", "unsafe")}
    assert len(cells.rows) == 2 * 2 * 3
    assert not [c for c in tables(Report.of([run("one", "u")])) if "published script" in c.title]


def test_every_table_is_well_formed() -> None:
    """As many cells as columns, no table twice, Markdown with a note below."""
    found = list(tables(REPORT))
    assert len({cells.title for cells in found}) == len(found)
    for cells in found:
        assert {len(line) for line in cells.rows} == {len(cells.header)}, cells.title
    assert to_markdown(titled("Prompts, means")).rstrip().endswith("less.")


def test_the_page_holds_pictures_and_tables() -> None:
    """It asks nobody for anything; names are text."""
    page = to_html(Report.of([run("<b>one", "uscs")]), {"Command": "guardrail <evaluate>"})
    assert not re.search(r"https?:|<script|<img|style=|<b>one", page)
    for said in ("Prompts, ROC", "Prompts, precision and recall", "Prompts, reliability",
                 "Responses, stops by tokens", "Prompts, categories: &lt;b&gt;one", "&lt;b&gt;one, AUC",
                 "Responses, stops of safe answers"):  # fmt: skip
        assert said in page, said
    assert page.count("<polyline") == 6


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: how the page is drawn is not tested")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_nothing_is_clipped(browser: Browser, tmp_path: Path, width: int, scheme: str) -> None:
    """On a desk, three curves beside each other; on a phone, below each other; no word leaves its card."""
    file = tmp_path / "page.html"
    file.write_text(to_html(REPORT, {"Command": "guardrail evaluate"}), "utf-8")
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]  # two of three
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    outside = words_outside(page)
    tops = page.evaluate(
        "[...document.querySelectorAll('.card:has(.square)')].slice(0, 3).map((c) => c.getBoundingClientRect().top)"
    )
    field = page.evaluate("document.querySelector('.square .field').getBoundingClientRect().toJSON()")
    assert (outside, complaints) == ([], [])
    assert len(set(tops)) == (1 if width > 1000 else 3)
    assert 0.8 < field["width"] / field["height"] < 1.25
    page.close()

"""A page of figures: it needs nobody, lets nothing in, shows every number, and is drawn within its bounds."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from guardrail.audit.pages.axes import figure_text
from guardrail.audit.pages.figures import Bars, Curves, Figure, Lines, Matrix, Summary, Table
from guardrail.audit.pages.page import render
from guardrail.audit.pages.pictures import draw_bars, draw_curves, draw_lines, draw_matrix
from tests.browsing import CHROMIUM, chromium, words_outside

HOSTILE = "</style><script>alert(1)</script><img src=x onerror=alert(1)>\u202e'\""
LONG = "dropped: near an evaluation row of dev_wildguard_prompts_and_responses.jsonl"

NAMED = Bars("Left out", [LONG, "no label", "cap: en"], {"rows": [12345, 310, 0]}, "rows")
HISTOGRAM = Bars("Onset", [f"{5 * i}–{5 * i + 4}" for i in range(48)], {"exact": range(48), "coarse": range(48, 0, -1)})
CURVES = Lines(
    "Ratios",
    [i / 10 for i in range(1, 10)],
    {"strict F1": [0.8 + i / 100 for i in range(9)], "loose F1": [None, *[0.7] * 8]},
    "share of Safe",
    "F1",
    {"chosen": 0.3, "a mark with a long name at the very end": 0.9},
)
CONFUSION = Matrix("Confusion", ["Safe", "Unsafe"], ["Safe", "Unsafe"], [[90, 10], [5, 15]], "human", "panel")
TABLE = Table(
    "Annotators", ["model", "n", "F1"], [["small", 1200, 0.9125], ["large", 1199, None]], "On half of the rows."
)
SUMMARY = Summary({"f1": 0.5}, (NAMED, HISTOGRAM, CURVES, CONFUSION, TABLE), ("The share is low.",))


def text_of(page: str) -> str:
    """Return what is read of a page."""
    return re.sub(r"<[^>]+>", " ", page[page.index("<body") :])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with chromium() as running:
        yield running


def test_the_page_asks_nobody() -> None:
    """It names no address, holds no script, and its rules allow neither."""
    page = render("annotate", SUMMARY, {"rows": "12"})
    assert not re.search(r"https?:|<script|<img|url\(|@import|style=", page)
    assert "default-src &#x27;none&#x27;" in page


def test_text_never_becomes_markup() -> None:
    """Names from models and data are text wherever they stand."""
    figures = (
        Bars(HOSTILE, [HOSTILE], {HOSTILE: [1]}, HOSTILE),
        Lines(HOSTILE, [0, 1], {HOSTILE: [0, 1]}, HOSTILE, HOSTILE, {HOSTILE: 0.5}),
        Curves(HOSTILE, {HOSTILE: [(0, 1)]}, HOSTILE, HOSTILE, HOSTILE),
        Matrix(HOSTILE, [HOSTILE], [HOSTILE], [[1]], HOSTILE, HOSTILE),
        Table(HOSTILE, [HOSTILE], [[HOSTILE]], HOSTILE),
    )
    page = render(HOSTILE, Summary({HOSTILE: HOSTILE}, figures, (HOSTILE,)), {HOSTILE: HOSTILE})
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("</style>") == 1


def test_warnings_facts_and_values_are_shown() -> None:
    """What the user should look at stands first; the values can be read as JSON."""
    page = render("annotate", SUMMARY, {"rows in": "12"})
    read = text_of(page)
    assert read.index("The share is low.") < read.index("rows in") < read.index("Left out")
    assert json.loads(page.split('class="values">')[1].split("</pre>")[0].replace("&quot;", '"')) == {"f1": 0.5}


@pytest.mark.parametrize("number", ["12,345", "310", "0.912", "0.88", "–", "90 %", "25 %", "chosen: 0.3"])
def test_each_picture_has_its_numbers(number: str) -> None:
    """Whoever cannot see a picture, or wants to copy a number, finds it in a table."""
    assert number in text_of(render("annotate", SUMMARY, {}))


def test_curves_are_drawn_to_scale() -> None:
    """Inside the unit square, y upwards; few points are dotted, and the diagonal is there when it means something."""
    drawn = draw_curves(Curves("", {"a": [(0, 0), (0.25, 1)]}, diagonal="chance"))
    assert 'points="0.0,1000.0 250.0,0.0"' in drawn
    assert re.findall(r'<circle cx="([\d.]+)%" cy="([\d.]+)%"', drawn) == [("0.00", "100.00"), ("25.00", "0.00")]
    assert "Dotted: chance." in drawn
    assert "pointer" not in draw_curves(Curves("", {"a": [(0, 0)] * 61}))


def test_a_gap_is_no_line() -> None:
    """A missing value is left out of a curve, not drawn as 0."""
    whole = draw_lines(Lines("", [1, 2, 3, 4], {"a": [1, 2, 3, 4]}))
    broken = draw_lines(Lines("", [1, 2, 3, 4], {"a": [1, float("nan"), 3, 4]}))
    assert (whole.count("<circle"), broken.count("<circle")) == (4, 3)
    assert (whole.count("<line x1"), broken.count("<line x1")) == (
        broken.count("<line x1") + 2,
        whole.count("<line x1") - 2,
    )


@pytest.mark.parametrize(
    "figure",
    [
        Curves("", {}), Curves("", {"a": []}), Curves("", {"a": [(0.5, 0.5)], "b": []}),
        Bars("", [], {}), Bars("", ["a"], {}), Bars("", ["a", "b"], {"n": [0, 0]}), Bars("", ["1"], {"n": [0]}),
        Lines("", [], {}), Lines("", [1], {"a": [1]}), Lines("", [1, 2], {"a": [None, None]}),
        Lines("", [0, 0], {"a": [5, 5]}), Lines("", [1, 2], {"a": [-3, -2]}), Matrix("", [], [], []),
        Matrix("", ["a"], ["b"], [[0]]), Table("", ["a"], []),
    ],
)  # fmt: skip
def test_little_can_be_shown(figure: Figure) -> None:
    """Pictures of nothing, of one value or of equal ones are drawn, or say that there is nothing."""
    page = render("mix", Summary(figures=(figure,)), {})
    assert "nan" not in page
    assert "inf%" not in page


def test_bars_are_drawn_to_scale() -> None:
    """The largest bar fills the width, others their share of it."""
    drawn = draw_bars(Bars("", ["a", "b"], {"n": [200, 50]}))
    assert re.findall(r'width="([\d.]+)%" height="10" rx', drawn) == ["100.00", "25.00"]


def test_counts_are_shaded_by_row_and_shares_by_themselves() -> None:
    """A rare class is seen in a confusion, and an agreement of 0.6 is no third of its row."""
    assert re.findall(r"q (q\d)", draw_matrix(CONFUSION)) == ["q9", "q1", "q2", "q7"]
    assert re.findall(r"q (q\d)", draw_matrix(Matrix("", ["a", "b"], ["a", "b"], [[1, 0.6], [0.6, 1]]))) == [
        "q9", "q6", "q6", "q9"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (1190000, "1,190,000"), (0.91254, "0.913"), (-1234.5, "-1,234"), (float("nan"), "–"),
     (2e-5, "2e-05"), (999.7, "1,000"), (-999.6, "-1,000"), (999.4, "999"), (2**70, f"{2**70:,}"),
     (float("inf"), "inf")],
)  # fmt: skip
def test_numbers_are_written_short(value: float | None, text: str) -> None:
    """Thousands stand apart, fractions have three digits."""
    assert figure_text(value) == text


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: how the page is drawn is not tested")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_nothing_is_clipped(browser: Browser, tmp_path: Path, width: int, scheme: str) -> None:
    """On a desk and on a phone the page does not scroll sideways; no word of a picture leaves it or meets another."""
    file = tmp_path / "report.html"
    file.write_text(render("annotate", SUMMARY, {"rows": "12"}), "utf-8")
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]  # two of three
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    outside = words_outside(page)
    overlapping = page.evaluate(
        """() => [...document.querySelectorAll('svg.words')].flatMap((svg) => {
          const boxes = [...svg.querySelectorAll('text')].map((t) => t.getBoundingClientRect()).filter((b) => b.width);
          return boxes.slice(1).filter((b, i) => b.left < boxes[i].right + 2).map((b) => b.left);
        })"""
    )
    assert (outside, overlapping, complaints) == ([], [], [])
    page.close()


def test_a_histogram_is_drawn_to_scale() -> None:
    """Bins stand beside each other, as high as their numbers; an empty one has no bar."""
    drawn = draw_bars(Bars("", ["0", "1", "2"], {"n": [4, 2, 0]}))
    assert re.findall(r'<rect x="([\d.]+)%" width="([\d.]+)%" y="[\d.]+%" height="([\d.]+)%"', drawn) == [
        ("2.000", "29.333", "100.00"),
        ("35.333", "29.333", "50.00"),
    ]

"""The page in a real browser, opened from the disk."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from guardrail.audit.report import Report, to_html
from guardrail.encoding import GuardTokenizer
from tests.audit.report.made import records, report_of
from tests.audit.report.test_page import hostile_report
from tests.browsing import CHROMIUM, chromium

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: the report's page is not tested")


@dataclass
class Opened:
    """A page, with what it asked for and what it complained of."""

    page: Page
    report: Report
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def report(tokenizer: GuardTokenizer) -> Report:
    """A report on some days."""
    return report_of(records(tokenizer, 800))


def show(browser: Browser, report: Report, folder: Path, **context: object) -> Iterator[Opened]:
    """Open the page; at the end it has complained of nothing and asked nobody."""
    file = folder / "report.html"
    file.write_text(to_html(report), "utf-8")
    opened = Opened(browser.new_page(**context), report)  # type: ignore[arg-type]  # playwright's own options
    page = opened.page
    page.on("request", lambda request: opened.requests.append(request.url))
    page.on("console", lambda message: opened.complaints.append(message.text))
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    page.on("dialog", lambda dialog: opened.complaints.append(dialog.message))
    page.goto(file.as_uri())
    yield opened
    page.close()
    assert not opened.complaints
    assert [url for url in opened.requests if not url.startswith(("data:", "blob:"))] == [file.as_uri()]


@pytest.fixture
def opened(browser: Browser, report: Report, tmp_path: Path) -> Iterator[Opened]:
    """The page of some days."""
    yield from show(browser, report, tmp_path)


def test_the_charts_are_drawn_to_scale(opened: Opened) -> None:
    """Bars are as high as their figures say, within the axis; every colour of the legend is there."""
    page, bins = opened.page, opened.report.over_time.bins
    plots = page.locator(".view[data-view=all] .plot")
    assert plots.count() == 3
    box = plots.first.bounding_box()
    assert box is not None
    assert box["width"] > 600
    bars = plots.first.locator(".s-allow").get_attribute("d") or ""
    assert bars.count("M") == sum(any(counts.allow for counts in one.directions.values()) for one in bins)
    top = float(page.locator(".view[data-view=all] .scale").first.locator("text").last.text_content() or "")
    stacked = plots.first.evaluate(
        "(plot) => Math.max(...[...plot.querySelectorAll('path')].map((p) => 1000 - p.getBBox().y))"
    )
    most = max(sum(counts.n for counts in one.directions.values()) for one in bins)
    assert stacked == pytest.approx(1000 * most / top, rel=0.03)
    colours = plots.first.evaluate("(plot) => [...plot.querySelectorAll('path')].map((p) => getComputedStyle(p).fill)")
    assert len(set(colours)) == len(colours) == 3
    assert page.locator("#stops .plot path, #failures .plot path").count() == 4


def test_a_direction_is_chosen(opened: Opened) -> None:
    """Chart, kinds of harm and reasons are then of that direction alone, also by the keyboard."""
    page = opened.page
    expect(page.locator(".view:visible")).to_have_attribute("data-view", "all")
    page.check("#view-prompt", force=True)
    expect(page.locator(".view:visible")).to_have_attribute("data-view", "prompt")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".view:visible")).to_have_attribute("data-view", "response")
    found = page.locator(".view:visible .pair tbody").last.locator("tr").all_inner_texts()
    expected = {row.names[1]: f"{row.counts.n:,}" for row in opened.report.reasons if row.names[0] == "response"}
    assert {line.split("\t")[0]: line.split("\t")[2] for line in found} == expected


def test_a_bar_tells_its_figures(opened: Opened) -> None:
    """The tip says what the table's row says, and stays inside the window."""
    page = opened.page
    plot = page.locator(".view[data-view=all] .plot").first
    box = plot.bounding_box()
    assert box is not None
    for place in (0.001, 0.5, 0.999):
        page.mouse.move(box["x"] + place * box["width"], box["y"] + box["height"] / 2)
        tip = page.locator(".tip")
        bins = opened.report.over_time.bins
        one = bins[int(place * len(bins))]
        expect(tip.locator("b")).to_have_text(one.start[:19].replace("T", " "))
        expect(tip).to_contain_text(f"records{sum(counts.n for counts in one.directions.values()):,}")
        assert tip.evaluate("(tip) => tip.getBoundingClientRect().right <= innerWidth")
    page.mouse.move(2, 2)
    expect(page.locator(".tip")).to_be_hidden()


def test_conversations_are_searched_and_sorted(opened: Opened) -> None:
    """By id, tenant and harm, and by any column, both ways."""
    page, listed = opened.page, opened.report.conversations
    visible = page.locator("#conversation-rows tr:visible")
    assert visible.count() == len(listed)
    page.fill("#search", "CHAT-0001")
    expect(visible).to_have_count(sum("chat-0001" in one.id for one in listed))
    page.fill("#search", "")
    page.check("#only-risky")
    expect(visible).to_have_count(sum(bool(one.counts.stop or one.counts.would_stop) for one in listed))
    page.uncheck("#only-risky")
    head = page.locator("#conversations th", has_text="records")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    counts = [int(row.locator("td.number").nth(1).inner_text().replace(",", "")) for row in visible.all()[:20]]
    assert counts == sorted((one.counts.n for one in listed), reverse=True)[:20]
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert int(visible.first.locator("td.number").nth(1).inner_text()) == min(one.counts.n for one in listed)


def test_the_figures_are_saved_as_json(opened: Opened, tmp_path: Path) -> None:
    """What is saved is what `--json` prints."""
    with opened.page.expect_download() as download:
        opened.page.click("#save")
    path = tmp_path / "saved.json"
    download.value.save_as(path)
    assert json.loads(path.read_text("utf-8")) == json.loads(json.dumps(opened.report.to_json()))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_narrow_screens_in_both_schemes(
    browser: Browser, report: Report, tmp_path: Path, scheme: str, width: int
) -> None:
    """Nothing is wider than the screen; the scheme is the system's until the switch says otherwise."""
    pages = show(browser, report, tmp_path, color_scheme=scheme, viewport={"width": width, "height": 800})
    page = next(pages).page
    for details in page.locator(".view:visible details, #stops details").all():
        details.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    def lightness() -> int:
        colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(", ")))

    shown = [lightness()]
    for name in ("Light", "Dark"):
        page.click("#theme")
        assert page.inner_text("#theme") == name
        shown.append(lightness())
    assert shown[1] > 600 > 150 > shown[2]
    assert shown[0] == shown[1 if scheme == "light" else 2]
    assert next(pages, None) is None


def test_without_javascript_everything_is_there_to_read(browser: Browser, report: Report, tmp_path: Path) -> None:
    """Charts, tables and the choice of a direction; what would do nothing is not shown."""
    pages = show(browser, report, tmp_path, java_script_enabled=False)
    page = next(pages).page
    assert page.locator(".plot:visible").count() == 5
    page.check("#view-response", force=True)
    expect(page.locator(".view:visible")).to_have_attribute("data-view", "response")
    page.locator(".view:visible summary").click()
    expect(page.locator(".view:visible details table")).to_be_visible()
    for id_ in ("#theme", "#save", "#conversation-tools"):
        expect(page.locator(id_)).to_be_hidden()
    assert next(pages, None) is None


def test_it_prints_light_and_whole(browser: Browser, report: Report, tmp_path: Path) -> None:
    """Tables are not cut off, and what only a screen can do is left out."""
    pages = show(browser, report, tmp_path, color_scheme="dark", viewport={"width": 760, "height": 1000})
    page = next(pages).page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(23, 28, 38)"
    assert page.evaluate(
        "[...document.querySelectorAll('.scroll')].every((one) => one.scrollHeight <= one.clientHeight + 1)"
    )
    expect(page.locator(".buttons")).to_be_hidden()
    assert page.pdf()[:4] == b"%PDF"
    assert next(pages, None) is None


def test_hostile_names_do_nothing(browser: Browser, tmp_path: Path) -> None:
    """No picture, no script, no dialog; also after sorting, searching and tips."""
    pages = show(browser, hostile_report(), tmp_path)
    page = next(pages).page
    page.fill("#search", "<img")
    page.locator("#conversations th button").first.click()
    page.locator(".plot").first.hover()
    assert page.locator("img, iframe, object, embed").count() == 0
    assert page.locator("script").count() == 2
    assert page.evaluate("JSON.parse(document.querySelector('#figures').textContent).n") == 2
    assert "<img src=x onerror=alert(1)>" in page.inner_text("#conversations")
    assert next(pages, None) is None

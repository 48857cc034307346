"""The page as a text: it needs nobody, lets nothing in, and says what the figures say."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from guardrail.audit.report import Report, to_html
from guardrail.audit.report.chart import nice_top
from guardrail.audit.report.figures import MAX_ROWS, Listed
from guardrail.audit.report.markup import EMPTY, Html, tag
from guardrail.audit.report.summary import NAMES_KEPT
from guardrail.encoding import GuardTokenizer
from guardrail.records import Record, Skipped, Span
from guardrail.records.record import FailureRecord
from guardrail.taxonomy import RiskLevel
from tests.audit.report.made import BARE, records, report_of

HOSTILE = "</script x</script></title><img src=x onerror=alert(1)><!--\u202e\x1b[31m\x00\u2028&lt;'\"`"
NAMES = ("conversation_id", "tenant", "tool", "policy", "policy_sha256", "model", "engine", "model_sha256", "category")


class Read(HTMLParser):
    """What a parser finds: elements, their attributes, texts of cells by row, and the JSON."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.rows: list[list[str]] = []
        self.data: dict[str, Any] = {}
        self.rules = ""
        self.text = ""
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.elements.add(name)
        self.attributes.update(found)
        self._inside = "json" if found.get("type") == "application/json" else name
        if name == "tr":
            self.rows.append([])
        if name in ("td", "th"):
            self.rows[-1].append("")
        if found.get("http-equiv"):
            self.rules = found["content"] or ""

    def handle_data(self, text: str) -> None:
        if self._inside == "json":
            self.data = json.loads(text)
        elif self._inside not in ("script", "style"):
            self.text += text
            if self._inside in ("td", "th", "bdi", "code") and self.rows:
                self.rows[-1][-1] += text

    def handle_endtag(self, name: str) -> None:  # noqa: ARG002  # the parser names it
        self._inside = ""


def report_named(text: str) -> Report:
    """Return a report in which every text from outside begins with `text`."""
    names = {name: text + name for name in NAMES}
    failure = FailureRecord(kind=text + "kind", message=text + "message")
    record = BARE.model_copy(update={**names, "risk": RiskLevel.UNSAFE, "failure": failure})
    skipped = Skipped(n_lines=1, first=text + "line")
    return report_of([record, BARE], skipped=skipped, span=Span(tenant=text + "asked"))


def hostile_report() -> Report:
    """Return a report in which every text from outside is hostile."""
    return report_named(HOSTILE)


@pytest.fixture(scope="module")
def report(tokenizer: GuardTokenizer) -> Report:
    """A report on two thousand records."""
    return report_of(records(tokenizer, 2000))


def test_hostile_names_stay_text_everywhere() -> None:
    """They bring no element and no attribute, are there to be read, and come back whole from the JSON."""
    report = hostile_report()
    read, harmless = Read(to_html(report)), Read(to_html(report_named("x")))
    assert (read.elements, read.attributes) == (harmless.elements, harmless.attributes)
    assert not [name for name in read.attributes if name.startswith("on") or name in ("src", "style", "srcset")]
    assert read.data == json.loads(json.dumps(report.to_json()))
    assert not set(to_html(report).split('id="figures">')[1].split("</script>")[0]) & set("<>&")
    assert read.text.count("</script></title><img src=x onerror=alert(1)>") >= len(NAMES) + 3
    for name in ("conversation_id", "tenant", "tool", "policy", "model", "category", "kind", "message"):
        assert [row for row in read.rows if any(name in cell for cell in row)], name


def test_what_cannot_be_seen_is_shown_as_a_code() -> None:
    """No turn of the writing direction, no control character, no line separator reaches the page."""
    page = to_html(hostile_report())
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", page)
    assert r"\u{202e}\u{1b}[31m\u{0}" in page


def test_its_rules_let_in_its_own_script_and_style_alone(report: Report) -> None:
    """Everything else is forbidden, also what a hole in the escaping would let in."""
    page = to_html(report)
    rules = dict(rule.strip().split(" ", 1) for rule in Read(page).rules.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for name, source in (("script", "script-src"), ("style", "style-src")):
        content = re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL)
        assert len(content) == 1
        assert rules[source] == f"'sha256-{base64.b64encode(hashlib.sha256(content[0].encode()).digest()).decode()}'"
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}


def test_it_names_no_other_place(report: Report) -> None:
    """No address, no import: everything is in the file."""
    page = to_html(report).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|url\(|@import|\bfetch\b|XMLHttpRequest|WebSocket|sendBeacon", page)


def test_every_table_says_what_the_figures_say(report: Report) -> None:
    """Directions, kinds of harm, conversations, failures, tenants, tools, versions; each bin of time."""
    read = Read(to_html(report))
    assert read.data == json.loads(json.dumps(report.to_json()))

    def told(*cells: object) -> bool:
        words = [f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells]
        return any(set(words) <= set(row) for row in read.rows)

    for one in report.conversations:
        assert told(one.id, one.tenant or "–", one.counts.n, one.counts.stop)
    for row in (*report.tenants, *report.tools):
        assert told(row.names[0] or "–", row.counts.n, row.counts.allow, row.counts.flag, row.counts.stop)
    for row in (*report.models, *report.policies):
        assert told(row.names[-1][:12], row.counts.n, row.counts.would_stop)
    for failure in report.failures:
        assert told(failure.kind, failure.message, failure.counts.n)
    for bin_ in report.over_time.bins:
        assert told(bin_.start[:19].replace("T", " "), sum(counts.n for counts in bin_.directions.values()))
    for stop in report.stops.bins:
        assert told(stop.stops, stop.would_stop)


def test_what_is_left_out_is_said() -> None:
    """Rows beyond those of a table, and names that were let go for want of memory; the sums keep them."""
    report = report_of(BARE.model_copy(update={"tool": f"tool {i}"}) for i in range(2 * NAMES_KEPT + 1))
    assert len(report.tools) == MAX_ROWS
    assert report.listed["tools"] == Listed(NAMES_KEPT + 1 - MAX_ROWS, NAMES_KEPT, 0)
    assert report.counts.n == 2 * NAMES_KEPT + 1
    text = Read(to_html(report)).text
    assert f"{NAMES_KEPT + 1 - MAX_ROWS} more are not listed. There were more names than are counted at once" in text


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_records_make_a_page_too(n: int, tokenizer: GuardTokenizer) -> None:
    """Without any it says so; nothing is divided by nothing."""
    read = Read(to_html(report_of(records(tokenizer, n))))
    assert ("no records to report on" in read.text) is (n == 0)
    assert read.data["n"] == n


def test_leaks_are_said_loudly() -> None:
    """In an alarm and a tile; without any neither is there."""
    leaky: Record = BARE.model_copy(update={"leaked_chars": 3, "unjudged_chars": 1200})
    page = to_html(report_of([leaky, BARE]))
    assert "3 characters in 1 decision passed on beyond a stop" in page
    assert "1,200 characters in 1 decision passed on without a verdict" in page
    assert page.count('class="tile alarm"') == 2
    assert 'class="bad"' not in to_html(report_of([BARE]))


def test_markup_is_only_what_tag_makes() -> None:
    """Text is escaped in content and attributes; markup is not escaped twice; nothing is bare by accident."""
    assert tag("p", "<b>", tag("i", "&"), title='"<') == '<p title="&quot;&lt;">&lt;b&gt;<i>&amp;</i></p>'
    assert tag("input", checked=True, disabled=False, value=None) == "<input checked>"
    assert isinstance(tag("p"), Html)
    assert EMPTY == ""


@pytest.mark.parametrize(
    ("value", "top"), [(1, 1), (3, 3), (7, 8), (9, 10), (11, 20), (22, 30), (101, 200), (999, 1000)]
)
def test_an_axis_ends_at_a_round_number(value: int, top: int) -> None:
    """Not below the largest bar."""
    assert nice_top(value) == top

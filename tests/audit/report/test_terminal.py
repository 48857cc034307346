"""The tables in a terminal."""

import io

import pytest
from rich.console import Console

from guardrail.audit.report import Report, tables
from guardrail.audit.report.wording import number, offsets_text, probability, share, width_text
from guardrail.audit.wording import shown
from guardrail.encoding import GuardTokenizer
from tests.audit.report.made import BARE, records, report_of
from tests.audit.report.test_page import hostile_report


def printed(report: Report, width: int = 200) -> str:
    """Return what a terminal shows."""
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    for piece in tables(report):
        console.print(piece)
    shown: str = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above
    return shown


def rows(text: str) -> list[list[str]]:
    """Return lines, cut into words."""
    return [line.split() for line in text.splitlines()]


def test_the_tables_say_what_the_figures_say(tokenizer: GuardTokenizer) -> None:
    """Directions with their latencies, kinds of harm, conversations, tenants, versions."""
    report = report_of(records(tokenizer, 2000))
    lines = rows(printed(report))
    for row, latency in zip(report.directions, report.latencies, strict=True):
        counts = row.counts
        numbers = (counts.n, counts.allow, counts.flag, counts.ask, counts.stop, counts.would_stop)
        percentiles = (latency.p50, latency.p95, latency.p99, latency.max)
        assert [row.names[0], *map(number, numbers), *map(number, percentiles)] in lines
    for one in report.conversations[:5]:
        words = [one.id, one.tenant or "–", *(one.category or "–").split(), number(one.counts.n)]
        assert any(line[: len(words)] == words for line in lines)
    for policy in report.policies:
        assert any(line[:2] == [policy.names[0], policy.names[1][:12]] for line in lines)
    text = printed(report)
    assert f"made.jsonl: 2,000 records, {report.first} to {report.last}".replace("+00:00", "").replace("T", " ") in text
    assert "2,000 of version 2" in text
    assert "more in --json and --html" in text


def test_hostile_names_cannot_drive_the_terminal() -> None:
    """No escape, no turn of the writing direction, no markup, however narrow it is."""
    for width in (40, 200):
        text = printed(hostile_report(), width)
        assert not set(text) & set("\x1b\x00\u202e\u2028")
        assert "img" in text


def test_nothing_is_said_of_nothing() -> None:
    """An empty store is one line; one record needs no table of tenants, tools, stops or failures."""
    assert printed(report_of([])) == "made.jsonl: 0 records, no records\n"
    text = printed(report_of([BARE]))
    assert not [word for word in ("tenant", "tool ", "failure ", "character  ", "Repairs") if word in text]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (1234, "1,234"),
        (1234.6, "1,235"),
        (56.78, "56.8"),
        (1.23456, "1.23"),
        (0.001234, "0.00123"),
    ],
)
def test_numbers_have_as_many_digits_as_they_need(value: float | None, text: str) -> None:
    """Thousands apart; three digits that count."""
    assert number(value) == text


def test_shares_are_never_rounded_to_none_or_all() -> None:
    """One of a million is not 0 %."""
    found = [share(part, 1_000_000) for part in (0, 1, 5000, 999_999, 1_000_000)]
    assert found == ["0.0 %", "< 0.1 %", "0.5 %", "> 99.9 %", "100.0 %"]
    assert share(0, 0) == ""
    assert [probability(p) for p in (None, 0.5, 0.99999, 1.0)] == ["–", "0.500", "0.999", "1.000"]


def test_widths_and_ranges_are_words() -> None:
    """As people say them; ranges have both ends inside."""
    assert [width_text(s) for s in (1, 300, 3600, 10800, 86400, 604800, 2419200)] == [
        "second", "5 minutes", "hour", "3 hours", "day", "week", "4 weeks",
    ]  # fmt: skip
    assert [offsets_text(*ends) for ends in ((0, 1), (10, 20), (5_000_000, None))] == [
        "0", "10 to 19", "5,000,000 and more",
    ]  # fmt: skip
    assert shown("a\tb") == r"a\u{9}b"
    assert len(shown("a" * 500)) == 120

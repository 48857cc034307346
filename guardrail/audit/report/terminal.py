"""A report as tables for a terminal."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from guardrail.audit.report.figures import Counts, Report, Row
from guardrail.audit.report.wording import (
    NONE,
    alarms,
    asked_for,
    moment_text,
    number,
    offsets_text,
    period,
    plural,
    probability,
    rest_text,
    share,
    version,
    versions_text,
    width_text,
)
from guardrail.audit.wording import shown

MAX_LINES = 12
"""Most rows of a table: what is beyond them is on the page. Our choice."""

_ACTIONS = ("allow", "flag", "ask", "stop")
_STYLES = {"bad": "bold white on red", "doubtful": "yellow"}
_BARS = " ▁▂▃▄▅▆▇█"


def tables(report: Report) -> Iterator[RenderableType]:
    """Yield a report piece by piece; what there is nothing to say of is left out."""
    asked = asked_for(report)
    yield Text(
        f"{shown(report.source)}: {plural(report.n, 'record')}, {period(report)}{f' ({asked})' if asked else ''}"
    )
    for kind, sentence in alarms(report):
        yield Text(sentence, _STYLES[kind])
    if not report.n:
        return
    yield _by_direction(report)
    yield Text(_over_time(report))
    yield from _named("category", report.categories, report, "categories")
    yield from _named("reason", report.reasons, report, "reasons")
    yield from _stops(report)
    yield from _failures(report)
    yield from _conversations(report)
    for title, name in (("tenant", "tenants"), ("tool", "tools")):
        yield from _named(title, getattr(report, name), report, name)
    for title, rows in (("model", report.models), ("policy", report.policies)):
        yield from _versions(title, rows, report)
    yield Text(_sums(report))


def _sums(report: Report) -> str:
    """Return what the tables do not hold; alarms have said what must not be overlooked."""
    saved, repairs = report.saved_tokens, report.repairs
    sentences = [
        f"Leaked characters: {number(report.leaked_chars.sum)}. Unjudged: {number(report.unjudged_chars.sum)}.",
        f"Tokens saved: at most {number(saved.sum)}, over {number(saved.n)} stops that know it." if saved.n else "",
        f"Repairs: {number(repairs.sum)} in {number(repairs.n)} answers, {number(report.repair_tokens.sum)} tokens."
        if repairs.n
        else "",
        f"Records by schema: {versions_text(report)}.",
    ]
    return " ".join(filter(None, sentences))


def _by_direction(report: Report) -> Table:
    table = _table("direction", "records", *_ACTIONS, "would stop", "p50 ms", "p95 ms", "p99 ms", "max ms")
    latencies = {one.direction: one for one in report.latencies}
    for row in report.directions:
        one = latencies[row.names[0]]
        table.add_row(row.names[0], *_counts(row.counts), *map(number, (one.p50, one.p95, one.p99, one.max)))
    if len(report.directions) > 1:
        table.add_row("all", *_counts(report.counts), *[""] * 4)
    return table


def _over_time(report: Report) -> str:
    """Return two lines of bars: decisions, and those that were not allowed."""
    bins = [list(one.directions.values()) for one in report.over_time.bins]
    if not bins:
        return ""
    rows = {
        "decisions": [sum(counts.n for counts in one) for one in bins],
        "stops": [sum(counts.stop for counts in one) for one in bins],
        "failures": [sum(one.failures.values()) for one in report.over_time.bins],
    }
    first, last = report.over_time.bins[0].start, report.over_time.bins[-1].start
    lines = [
        f"Over time, from {moment_text(first)} to {moment_text(last)} UTC, by {width_text(report.over_time.bin_s)}"
    ]
    lines += [f"{name:>10} {_bars(values)} up to {number(max(values))}" for name, values in rows.items() if any(values)]
    return "\n".join(lines)


def _bars(values: Sequence[int], width: int = 80) -> str:
    step = -(-len(values) // width)
    sums = [sum(values[i : i + step]) for i in range(0, len(values), step)]
    top = max(sums)
    return "".join(_BARS[-(-value * (len(_BARS) - 1) // top)] for value in sums)


def _named(title: str, rows: Sequence[Row], report: Report, name: str) -> Iterator[RenderableType]:
    if not rows or (name == "tenants" and [row.names for row in rows] == [("",)]):
        return
    table = _table(title, "records", "of all", *_ACTIONS, "would stop")
    for row in rows[:MAX_LINES]:
        n, *actions = _counts(row.counts)
        table.add_row(" · ".join(shown(one) or NONE for one in row.names), n, share(row.counts.n, report.n), *actions)
    yield table
    yield from _left_out(len(rows), name, report)


def _stops(report: Report) -> Iterator[RenderableType]:
    if not report.stops.n:
        return
    table = _table("stopped by a verdict at character", "stops", "would stop")
    for one in report.stops.bins:
        table.add_row(offsets_text(one.start, one.end), number(one.stops), number(one.would_stop))
    yield table
    stops = report.stops
    yield Text(f"half before {number(stops.p50)}, 95 % before {number(stops.p95)}, the last at {number(stops.max)}")


def _failures(report: Report) -> Iterator[RenderableType]:
    if not report.failures:
        return
    table = _table("failure", "records", "stop", "first", "last", "message of the first", n_numbers=2)
    for one in report.failures[:MAX_LINES]:
        counts, times = one.counts, map(moment_text, (one.first, one.last))
        table.add_row(shown(one.kind), number(counts.n), number(counts.stop), *times, shown(one.message))
    yield table
    yield from _left_out(len(report.failures), "failures", report)


def _conversations(report: Report) -> Iterator[RenderableType]:
    if not report.conversations:
        return
    columns = ("conversation", "tenant", "worst category", "records", "stops", "would stop", "p(harm)")
    table = _table(*columns, n_texts=3)
    for one in report.conversations[:MAX_LINES]:
        numbers = map(number, (one.counts.n, one.counts.stop, one.counts.would_stop))
        names = (shown(text) or NONE for text in (one.id, one.tenant, one.category))
        table.add_row(*names, *numbers, probability(one.peak))
    yield table
    yield from _left_out(len(report.conversations), "conversations", report)


def _versions(title: str, rows: Sequence[Row], report: Report) -> Iterator[RenderableType]:
    if not rows:
        return
    table = _table(title, "hash", "first", "last", "records", "stops", "would stop", n_texts=4)
    for row in rows[:MAX_LINES]:
        times = map(moment_text, (row.first, row.last))
        numbers = map(number, (row.counts.n, row.counts.stop, row.counts.would_stop))
        table.add_row(*map(shown, version(row.names)), *times, *numbers)
    yield table
    yield from _left_out(len(rows), "models" if title == "model" else "policies", report)


def _left_out(n_rows: int, name: str, report: Report) -> Iterator[Text]:
    """Say what a table does not show."""
    sentences = [f"{n_rows - MAX_LINES:,} more in --json and --html." if n_rows > MAX_LINES else ""]
    sentences.append(rest_text(report.listed.get(name)))
    if said := " ".join(filter(None, sentences)):
        yield Text(said, "dim")


def _counts(counts: Counts) -> list[str]:
    return [number(getattr(counts, name)) for name in ("n", *_ACTIONS, "would_stop")]


def _table(*columns: str, n_texts: int = 1, n_numbers: int | None = None) -> Table:
    """Return an empty table: first columns of text, then numbers, then text again."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    last = len(columns) if n_numbers is None else n_texts + n_numbers
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if n_texts <= i < last else "left", overflow="fold")
    return table

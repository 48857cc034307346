"""From a summary to the figures of a report."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from guardrail.audit.report.figures import (
    MAX_ROWS,
    Amount,
    Conversation,
    Counts,
    FailureRow,
    Latency,
    Listed,
    OffsetBin,
    OverTime,
    Report,
    Row,
    Stops,
    TimeBin,
)
from guardrail.audit.report.sketch import Sketch
from guardrail.audit.report.summary import OFFSET_EDGES, Summary
from guardrail.audit.report.tallies import ConversationTally, FailureTally, Key, Leading, Tally
from guardrail.decision import Direction
from guardrail.records import Skipped, Span

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"
_NO_SPAN = Span()


def make_report(
    summary: Summary, source: str, span: Span = _NO_SPAN, skipped: Skipped | None = None, *, made_at: datetime
) -> Report:
    """Return a summary's figures.

    Args:
        summary: of the records.
        source: name of the store, as the report shows it: without a password.
        span: which records were asked for.
        skipped: what was no record.
        made_at: time of the report.
    """
    skipped = skipped or Skipped()
    return Report(
        source=source,
        made_at=made_at.isoformat(timespec="seconds"),
        since=span.since.isoformat() if span.since else None,
        until=span.until.isoformat() if span.until else None,
        tenant=span.tenant,
        n_unreadable=skipped.n_lines,
        unreadable=skipped.first,
        **_numbers(summary),
        **_tables(summary),
    )


def _numbers(summary: Summary) -> dict[str, Any]:
    """Return the figures that are no tables of names."""
    directions = [direction for direction in Direction if direction in summary.directions]
    return {
        "n": summary.n,
        "n_timeless": summary.n_timeless,
        "first": time_text(summary.total.first),
        "last": time_text(summary.total.last),
        "counts": Counts.of([summary.total]),
        "directions": tuple(_row((one.value,), summary.directions[one]) for one in directions),
        "latencies": tuple(_latency(one, summary.latencies[one]) for one in directions),
        "over_time": _over_time(summary),
        "stops": _stops(summary),
        "leaked_chars": _amount(summary, "leaked_chars"),
        "unjudged_chars": _amount(summary, "unjudged_chars"),
        "n_alone": summary.n_alone,
        "saved_tokens": Amount(summary.saved_tokens, summary.n_saving),
        "repairs": _amount(summary, "n_repairs"),
        "repair_tokens": _amount(summary, "n_repair_tokens"),
        "versions": {str(version): n for version, n in sorted(summary.versions.items())},
    }


def _tables(summary: Summary) -> dict[str, Any]:
    """Return the tables of names, and what they leave out."""
    listed = {name: _listed(getattr(summary, name)) for name in (*_ROWS, "failures", "conversations")}
    return {
        **{name: _rows(getattr(summary, name)) for name in _ROWS},
        "failures": tuple(_failure(*item) for item in summary.failures.ranked()[:MAX_ROWS]),
        "conversations": tuple(_conversation(*item) for item in summary.conversations.ranked()[:MAX_ROWS]),
        "listed": {name: one for name, one in listed.items() if one != Listed()},
    }


_ROWS = ("categories", "reasons", "tenants", "tools", "models", "policies")


def time_text(time: float | None) -> str | None:
    """Return a time since the epoch as UTC, ISO 8601, to the second; None stays None, and years stay in [1, 9999]."""
    if time is None:
        return None
    try:
        return (_EPOCH + timedelta(seconds=int(time // 1))).isoformat(timespec="seconds")
    except OverflowError:
        return _FIRST if time < 0 else _LAST


def _row(names: tuple[str, ...], tally: Tally) -> Row:
    return Row(names, Counts.of([tally]), time_text(tally.first), time_text(tally.last))


def _rows(table: Leading[Tally]) -> tuple[Row, ...]:
    return tuple(_row(key, tally) for key, tally in table.ranked()[:MAX_ROWS])


def _failure(key: Key, tally: FailureTally) -> FailureRow:
    times = time_text(tally.first), time_text(tally.last)
    return FailureRow(key[0], tally.message, Counts.of([tally]), *times)


def _conversation(key: Key, tally: ConversationTally) -> Conversation:
    (tenant, name), counts = key, Counts.of([tally])
    times = time_text(tally.first), time_text(tally.last)
    return Conversation(tenant, name, counts, tally.n_risky, tally.category, tally.peak, *times)


def _listed(table: Leading[Any]) -> Listed:
    return Listed(max(0, len(table) - MAX_ROWS), table.n_dropped, table.stops_error)


def _amount(summary: Summary, name: str) -> Amount:
    return Amount(summary.sums[name], summary.n_having[name])


def _latency(direction: Direction, sketch: Sketch) -> Latency:
    p50, p95, p99 = (_rounded(sketch.quantile(share)) for share in (0.5, 0.95, 0.99))
    return Latency(direction.value, sketch.n, p50, p95, p99, _rounded(sketch.maximum))


def _rounded(value: float | None) -> float | None:
    """Return three digits behind the point: microseconds of milliseconds."""
    return None if value is None else round(value, 3)


def _over_time(summary: Summary) -> OverTime:
    shown = summary.timeline.shown()
    bins = tuple(
        TimeBin(
            time_text(start) or "",
            {d.value: Counts.of([one.directions[d]]) for d in Direction if d in one.directions},
            _failures(one.failures),
        )
        for start, one in shown.bins
    )
    return OverTime(shown.width_s, bins, shown.n_far)


def _failures(table: Leading[Tally]) -> dict[str, int]:
    kinds = {key[0]: tally.n for key, tally in table.ranked()}
    return {**kinds, "others": kinds.get("others", 0) + table.rest.n} if table.rest.n else kinds


def _stops(summary: Summary) -> Stops:
    found, offsets = summary.stop_offsets, summary.offsets
    edges: Sequence[int] = OFFSET_EDGES[: max(map(OFFSET_EDGES.index, found), default=-1) + 1]
    ends = (*OFFSET_EDGES[1:], None)
    bins = tuple(
        OffsetBin(start, ends[i], tally.n - tally.n_would_stop, tally.n_would_stop)
        for i, start in enumerate(edges)
        for tally in (found.get(start, Tally()),)
    )
    p50, p95 = (_rounded(offsets.quantile(share)) for share in (0.5, 0.95))
    return Stops(offsets.n, p50, p95, offsets.maximum, bins)

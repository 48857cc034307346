"""The page's other sections: latency, stops, failures, conversations, names and versions."""

from collections.abc import Sequence

from guardrail.audit.report.chart import Mark, Series, bars, spread
from guardrail.audit.report.decisions import time_marks
from guardrail.audit.report.figures import Conversation, FailureRow, Report, Row
from guardrail.audit.report.markup import EMPTY, Html, joined, tag
from guardrail.audit.report.parts import (
    COUNTED,
    card,
    counted,
    folded,
    head,
    left_out,
    name_cell,
    number_cell,
    strip_cell,
    table,
    text_cell,
    time_cell,
)
from guardrail.audit.report.sketch import ERROR
from guardrail.audit.report.wording import (
    moment_text,
    number,
    offsets_text,
    plural,
    probability,
    share,
    version,
    width_text,
)
from guardrail.audit.wording import shown

MAX_KINDS = 5
"""Most kinds of failure with a colour of their own."""


def latency_section(report: Report) -> Html:
    """Return percentiles by direction, as numbers and as dots on one scale."""
    values = [value for one in report.latencies for value in (one.p50, one.max) if value]
    low, high = (min(values), max(values)) if values else (1.0, 1.0)
    rows = [
        tag("tr", name_cell(one.direction.replace("_", " ")),
            tag("td", spread((one.p50, one.p95, one.p99, one.max), low, high), class_="drawing wide"),
            number_cell(one.n), *map(number_cell, (one.p50, one.p95, one.p99, one.max)))
        for one in report.latencies
    ]  # fmt: skip
    names = head("direction", "", "records", "p50 ms", "p95 ms", "p99 ms", "max ms")
    lead = (
        f"Time in the guard for a whole text, in milliseconds. Dots: p50, p95, p99 and the maximum, from {number(low)} "
        f"to {number(high)} ms on a logarithmic scale. Percentiles are within {ERROR:.0%} of the exact ones."
    )
    return card("Latency", table("Latency by direction", names, rows), id_="latency", lead=lead)


def stops_section(report: Report) -> Html:
    """Return a histogram of where answers were stopped."""
    stops = report.stops
    if not stops.n:
        return EMPTY
    series = [
        Series("stopped", "s-stop", [one.stops for one in stops.bins]),
        Series("would have stopped", "s-would", [one.would_stop for one in stops.bins]),
    ]
    marks = [Mark(i, f"{one.start:,}", is_minor=i % 3 != 0) for i, one in enumerate(stops.bins)]
    rows = [
        tag("tr", tag("th", offsets_text(one.start, one.end), scope="row"), number_cell(one.stops),
            number_cell(one.would_stop))
        for one in stops.bins
    ]  # fmt: skip
    made = table("Stops by character", head("characters", "stops", "would stop"), rows, id_="stops-rows")
    lead = (
        "How many characters of an answer or a tool call stand before its stop by a verdict: half of the "
        f"{number(stops.n)} have fewer than {number(stops.p50)}, 95 % fewer than {number(stops.p95)}; "
        f"the most are {number(stops.max)}."
    )
    figure = tag("figure", bars("Stops by character", series, marks, "stops-rows"))
    return card("Where answers stop", figure, folded("Table: stops by character", made), id_="stops", lead=lead)


def failures_section(report: Report) -> Html:
    """Return failures by kind and over time."""
    if not report.failures:
        return card("Failures", tag("p", "No decision was made by a failure.", class_="note good"), id_="failures")
    rows = [_failure(one) for one in report.failures]
    names = head("kind", "records", *COUNTED, "first", "last", "message of the first")
    made = table("Failures by kind", names, rows, is_sortable=True)
    return card("Failures", _failures_over_time(report), made, left_out(report.listed.get("failures")), id_="failures")


def _failure(one: FailureRow) -> Html:
    counts = one.counts
    return tag("tr", name_cell(one.kind), number_cell(counts.n), counted(counts), time_cell(one.first),
               time_cell(one.last), text_cell(one.message, "long"))  # fmt: skip


def _failures_over_time(report: Report) -> Html:
    bins = report.over_time.bins
    totals: dict[str, int] = {}
    for one in bins:
        for kind, n in one.failures.items():
            totals[kind] = totals.get(kind, 0) + n
    kinds = sorted(totals, key=lambda kind: (-totals[kind], kind))[:MAX_KINDS]
    series = [
        Series(shown(kind), f"s-k{i}", [one.failures.get(kind, 0) for one in bins]) for i, kind in enumerate(kinds)
    ]
    others = [sum(n for kind, n in one.failures.items() if kind not in kinds) for one in bins]
    series.append(Series("other kinds", f"s-k{MAX_KINDS}", others))
    title = f"Failures, by {width_text(report.over_time.bin_s)}"
    drawn = bars(title, series, time_marks(report.over_time), "failures-rows") if bins else EMPTY
    if not drawn:
        return EMPTY
    rows = [
        tag("tr", tag("th", moment_text(one.start), scope="row"), *(number_cell(s.values[i]) for s in series))
        for i, one in enumerate(bins)
    ]
    names = head("from (UTC)", *(one.name for one in series))
    inside = table("Failures over time", names, rows, id_="failures-rows")
    return joined(tag("figure", tag("figcaption", title), drawn), folded("Table: failures over time", inside))


def conversations_section(report: Report) -> Html:
    """Return the conversations of the highest risk; what is searched and sorted there is done by JavaScript."""
    if not report.conversations:
        said = "No decision names a conversation."
        return card("Conversations", tag("p", said, class_="note"), id_="conversations")
    tools = tag(
        "div",
        tag("label", "Search ", tag("input", type="search", id="search", autocomplete="off")),
        tag("label", tag("input", type="checkbox", id="only-risky"), " only with stops"),
        tag("output", id="n-found", for_="search"),
        class_="tools", hidden=True, id="conversation-tools",
    )  # fmt: skip
    names = head("conversation", "tenant", "worst harm", "p(harm)", "records", *COUNTED, "first", "last", n_texts=3)
    rows = [_conversation(one) for one in report.conversations]
    made = table("Conversations by risk", names, rows, id_="conversation-rows", is_sortable=True)
    lead = (
        "Those with the most texts that the rules stop (or would, in shadow mode) for what was read in them come "
        "first, then those with the highest probability of harm. "
        f"Without a conversation: {plural(report.n_alone, 'decision')}."
    )
    rest = left_out(report.listed.get("conversations"))
    return card("Conversations by risk", tools, made, rest, id_="conversations", lead=lead)


def _conversation(one: Conversation) -> Html:
    counts = one.counts
    return tag(
        "tr", name_cell(one.id), text_cell(one.tenant), text_cell(one.category),
        number_cell(one.peak, probability(one.peak)), number_cell(counts.n), counted(counts), time_cell(one.first),
        time_cell(one.last), data_risky=bool(counts.stop or counts.would_stop),
    )  # fmt: skip


def names_sections(report: Report) -> list[Html]:
    """Return tenants, tools, and the versions of models and policies."""
    named = [
        _names("Tenants", "tenant", report.tenants, report, "tenants")
        if [row.names for row in report.tenants] != [("",)]
        else EMPTY,
        _names("Tools", "tool", report.tools, report, "tools") if report.tools else EMPTY,
    ]
    versions = [
        _versions("Models", "model", report.models, report, "models"),
        _versions("Policies", "policy", report.policies, report, "policies"),
    ]
    return [*named, *versions]


def _names(title: str, what: str, rows: Sequence[Row], report: Report, name: str) -> Html:
    top = max(row.counts.n for row in rows)
    lines = [
        tag("tr", name_cell(row.names[0]), strip_cell(row.counts, top), number_cell(row.counts.n),
            number_cell(row.counts.n / report.n, share(row.counts.n, report.n)), counted(row.counts),
            time_cell(row.first), time_cell(row.last))
        for row in rows
    ]  # fmt: skip
    names = head(what, "", "records", "of all", *COUNTED, "first", "last")
    return card(title, table(title, names, lines, is_sortable=True), left_out(report.listed.get(name)), id_=name)


def _versions(title: str, what: str, rows: Sequence[Row], report: Report, name: str) -> Html:
    lines = [
        tag("tr", name_cell(version(row.names)[0]), tag("td", tag("code", shown(version(row.names)[1]))),
            number_cell(row.counts.n), counted(row.counts), time_cell(row.first), time_cell(row.last))
        for row in rows
    ]  # fmt: skip
    names = head(what, "hash", "records", *COUNTED, "first", "last", n_texts=2)
    return card(title, table(title, names, lines, is_sortable=True), left_out(report.listed.get(name)), id_=name)

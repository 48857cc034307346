"""The page's section on decisions: over time, by kind of harm, by reason, and all of it for one direction only."""

from collections.abc import Sequence

from guardrail.audit.report.chart import Mark, Series, bars
from guardrail.audit.report.figures import NO_COUNTS, Counts, OverTime, Report, Row, added
from guardrail.audit.report.markup import EMPTY, Html, joined, tag
from guardrail.audit.report.parts import (
    ACTIONS,
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
)
from guardrail.audit.report.wording import moment_text, share, width_text

_ALL = "all"
_N_WORDS = 5


def decisions_section(report: Report) -> Html:
    """Return the section. One direction's part is chosen by the style sheet, without JavaScript."""
    directions = [row.names[0] for row in report.directions]
    views = [_ALL, *directions] if len(directions) > 1 else [_ALL]
    parts = [tag("div", *_view(report, view), class_="view", data_view=view) for view in views]
    return card("Decisions", _choice(views), *parts, _left_out(report), id_="decisions")


def _choice(views: Sequence[str]) -> Html:
    if len(views) < 2:
        return EMPTY
    labels = [
        tag("label", tag("input", type="radio", name="view", id=f"view-{view}", value=view, checked=view == _ALL),
            tag("span", view.replace("_", " ")))
        for view in views
    ]  # fmt: skip
    return tag("fieldset", tag("legend", "Direction", class_="unseen"), *labels, class_="segments")


def _view(report: Report, view: str) -> list[Html]:
    return [
        _over_time(report.over_time, view),
        tag("div", _by_name("By kind of harm", "kind of harm", _rows(report.categories, view)),
            _by_name("By reason", "reason", _rows(report.reasons, view)), class_="pair"),
    ]  # fmt: skip


def _over_time(over_time: OverTime, view: str) -> Html:
    bins = [_counts(one.directions, view) for one in over_time.bins]
    if not bins:
        return EMPTY
    rows = f"over-time-{view}"
    marks = time_marks(over_time)
    width = width_text(over_time.bin_s)
    by_action = {name: Series(name, f"s-{name}", [getattr(one, name) for one in bins]) for name in ACTIONS}
    would = Series("would have stopped", "s-would", [one.would_stop for one in bins])
    charts = (
        (f"All decisions, by {width}", list(by_action.values())),
        ("Not allowed: flagged, asked, stopped", [by_action[name] for name in ("flag", "ask", "stop")]),
        ("Shadow mode", [would]),
    )
    figures = [
        tag("figure", tag("figcaption", title), drawn)
        for title, series in charts
        if (drawn := bars(title, series, marks, rows))
    ]
    lines = [
        tag("tr", tag("th", moment_text(time.start), scope="row"), number_cell(counts.n), counted(counts))
        for time, counts in zip(over_time.bins, bins, strict=True)
    ]
    shown = table("Decisions over time", head("from (UTC)", "records", *COUNTED), lines, id_=rows)
    return joined(*figures, folded("Table: decisions over time", shown))


def time_marks(over_time: OverTime) -> list[Mark]:
    """Return the words under a chart over time."""
    n = len(over_time.bins)
    places = sorted({round(i * (n - 1) / (_N_WORDS - 1)) for i in range(_N_WORDS)})
    is_day = over_time.bin_s >= 86400
    texts = [moment_text(over_time.bins[place].start) for place in places]
    texts = [text[:10] if is_day else text[5:16] if over_time.bin_s >= 60 else text[11:] for text in texts]
    return [Mark(place, text, is_minor=0 < i < len(places) - 1 and i % 2 == 1)
            for i, (place, text) in enumerate(zip(places, texts, strict=True))]  # fmt: skip


def _by_name(title: str, what: str, rows: Sequence[tuple[str, Counts]]) -> Html:
    """Return a table whose rows are also bars."""
    if not rows:
        return tag("div", tag("h3", title), tag("p", "None.", class_="note"))
    top = max(counts.n for _, counts in rows)
    whole = sum(counts.n for _, counts in rows)
    lines = [
        tag("tr", name_cell(name.replace("_", " ") if what == "reason" else name), strip_cell(counts, top),
            number_cell(counts.n), number_cell(counts.n / whole, share(counts.n, whole)), counted(counts))
        for name, counts in rows
    ]  # fmt: skip
    made = table(title, head(what, "", "records", "of these", *COUNTED), lines, is_sortable=True)
    return tag("div", tag("h3", title), made)


def _rows(rows: Sequence[Row], view: str) -> list[tuple[str, Counts]]:
    """Return the counts by the second name of rows, of one direction or all, the largest first."""
    found: dict[str, Counts] = {}
    for row in rows:
        direction, name = row.names
        if view in (_ALL, direction):
            found[name] = added([found.get(name, NO_COUNTS), row.counts])
    return sorted(found.items(), key=lambda item: (-item[1].n, item[0]))


def _counts(directions: dict[str, Counts], view: str) -> Counts:
    return added(list(directions.values())) if view == _ALL else directions.get(view, NO_COUNTS)


def _left_out(report: Report) -> Html:
    return joined(*(left_out(report.listed.get(name)) for name in ("categories", "reasons")))

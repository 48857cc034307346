"""Figures as one HTML file: it asks nobody for anything, and its rules forbid it to."""

import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from guardrail.audit.pages.axes import figure_text
from guardrail.audit.pages.figures import Bars, Curves, Figure, Lines, Matrix, Scalar, Summary, Table
from guardrail.audit.pages.pictures import draw_bars, draw_curves, draw_lines, draw_matrix
from guardrail.audit.report.document import document
from guardrail.audit.report.markup import EMPTY, Html, joined, tag
from guardrail.audit.report.parts import card, folded, name_cell, table, text_cell
from guardrail.audit.wording import shown

_STYLES = (("guardrail.audit.report", "static/report.css"), ("guardrail.audit.pages", "pages.css"))


def render(title: str, summary: Summary, facts: Mapping[str, str]) -> str:
    """Return a page that shows what was found; it needs no network, no other file and no script.

    Args:
        title: of the page.
        summary: what was found.
        facts: of the run, by name, in order.
    """
    style = "\n".join(files(package).joinpath(name).read_text("utf-8") for package, name in _STYLES)
    figures = [_figure(figure, f"f{i}") for i, figure in enumerate(summary.figures)]
    main = tag("main", _warnings(summary.warnings), _facts(facts), *figures, _values(summary.values))
    body = tag("body", tag("header", tag("div", tag("h1", tag("bdi", shown(title))))), main, tag("footer"))
    return document(shown(title), style, body)


def _warnings(warnings: Sequence[str]) -> Html:
    if not warnings:
        return EMPTY
    return tag("ul", *(tag("li", tag("bdi", said), class_="doubtful") for said in warnings), class_="alarms",
               role="alert")  # fmt: skip


def _facts(facts: Mapping[str, str]) -> Html:
    if not facts:
        return EMPTY
    rows = [tag("tr", name_cell(name), tag("td", tag("bdi", said))) for name, said in facts.items()]
    return card("This run", tag("table", tag("tbody", *rows), class_="facts"), id_="run")


def _values(values: Mapping[str, Any]) -> Html:
    if not values:
        return EMPTY
    written = json.dumps(values, ensure_ascii=False, indent=1, default=str)
    return card("For machines", folded("All values as JSON", tag("pre", written, class_="values")), id_="values")


def _figure(figure: Figure, id_: str) -> Html:
    match figure:
        case Table():
            note = tag("p", figure.note, class_="note") if figure.note else EMPTY
            return card(figure.title, _table(figure.title, figure.columns, figure.rows), note, id_=id_)
        case Bars():
            rows = [[label, *values] for label, *values in zip(figure.labels, *figure.series.values(), strict=True)]
            numbers = _numbers(figure.title, ["", *figure.series], rows)
            return card(figure.title, draw_bars(figure), numbers, id_=id_)
        case Lines():
            points = [list(point) for point in zip(figure.x, *figure.series.values(), strict=True)]
            marks = [[f"{name}: {figure_text(place)}", *(None for _ in figure.series)]
                     for name, place in figure.marks.items()]  # fmt: skip
            numbers = _numbers(figure.title, [figure.x_label or "x", *figure.series], [*points, *marks])
            return card(figure.title, draw_lines(figure), numbers, id_=id_)
        case Curves():
            places: list[list[Scalar]] = [[name, x, y] for name, points in figure.series.items() for x, y in points]
            numbers = _numbers(figure.title, ["curve", figure.x_label or "x", figure.y_label or "y"], places)
            return card(figure.title, draw_curves(figure), numbers, id_=id_)
        case Matrix():
            return card(figure.title, draw_matrix(figure), id_=id_)


def _numbers(title: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> Html:
    return folded("Numbers", _table(title, columns, rows))


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> Html:
    """Return a table; a column is one of numbers when every value that it has is one."""
    is_number = [all(_is_missing_or_number(row[i]) for row in rows) and bool(rows) for i in range(len(columns))]
    top = tag("thead", tag("tr", *(
        tag("th", tag("bdi", name) if name else tag("span", "name", class_="unseen"), scope="col",
            class_="number" if numeric else None)
        for name, numeric in zip(columns, is_number, strict=True)
    )))  # fmt: skip
    body = [tag("tr", *(_cell(value, numeric) for value, numeric in zip(row, is_number, strict=True))) for row in rows]
    return table(title, top, body)


def _cell(value: Scalar, numeric: bool) -> Html:
    if numeric:
        number = value if isinstance(value, int | float) else None
        return tag("td", figure_text(number), class_="number zero" if number == 0 else "number")
    return text_cell(value) if isinstance(value, str) else joined(tag("td", figure_text(value)))


def _is_missing_or_number(value: Scalar) -> bool:
    return value is None or (isinstance(value, int | float) and not (isinstance(value, float) and math.isinf(value)))

"""Pictures of a page as SVG that fills whatever width there is.

Positions are percentages, so that words and lines keep their size; colours are classes: the page allows no style
attributes.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeGuard

from guardrail.audit.pages.axes import (
    UNIT,
    Axis,
    axis_label,
    bar_style,
    figure_text,
    grid_lines,
    legend,
    line_style,
    scale,
    word,
)
from guardrail.audit.pages.figures import Bars, Curves, Lines, Matrix
from guardrail.audit.report.markup import EMPTY, Html, joined, tag
from guardrail.audit.wording import shown

_N_SHADES = 10
_BAR_PX = 13
_MOST_ROWS = 40
"""Names beyond this many are drawn as a histogram is: a column of more bars is no picture any more. Our choice."""

_WIDE_CHARS, _NARROW_CHARS = 90, 34
"""Characters of words that stand beside each other under a picture, on a desk and on a phone."""

_FEW_POINTS = 60


def draw_bars(bars: Bars) -> Html:
    """Return bars: below each other when they have names, side by side when they are a histogram."""
    if not bars.labels or not bars.series:
        return tag("p", "Nothing was counted.", class_="note")
    top = max((value for values in bars.series.values() for value in values), default=0) or 1
    is_histogram = all(label[:1].isdigit() or label[:1] in "<>≤≥-−.+" for label in bars.labels)
    drawn = _upright(bars, top) if is_histogram or len(bars.labels) > _MOST_ROWS else _lying(bars, top)
    names = list(bars.series) if len(bars.series) > 1 else []
    return joined(legend(names), axis_label(bars.y_label), drawn)


def draw_lines(lines: Lines) -> Html:
    """Return curves with their axes and the places that are pointed at."""
    values = [v for series in lines.series.values() for v in series if _is_drawn(v)]
    if not lines.x or not values:
        return tag("p", "Nothing was measured.", class_="note")
    x = Axis.over([*lines.x, *lines.marks.values()], from_zero=False)
    y = Axis.over(values, from_zero=min(values) >= 0 and min(values) <= max(values) / 2)
    grid = grid_lines(y)
    marks = sorted(lines.marks.items(), key=lambda mark: mark[1])
    pointers = [tag("line", x1=x.along(at), x2=x.along(at), y1=0, y2="100%", class_="pointer") for _, at in marks]
    curves = [_curve(lines.x, series, x, y, i) for i, series in enumerate(lines.series.values())]
    field = tag("svg", *grid, *pointers, *curves, class_="field", role="img",
                aria_label=f"{lines.title}: curves; the numbers below say the same")  # fmt: skip
    names = [
        tag("text", shown(name), x=x.along(at), y=f"{i + 0.8}em", text_anchor="start" if x.share(at) < 0.5 else "end")
        for i, (name, at) in enumerate(marks)
    ]
    said = (
        tag("svg", *names, class_="pointed", height=f"{1.25 * len(marks):g}em", aria_hidden="true") if marks else EMPTY
    )
    words = [word(figure_text(t), x.share(t), is_minor=i % 2 == 1) for i, t in enumerate(x.ticks)]
    under = tag("svg", *words, class_="words", aria_hidden="true")
    return joined(
        legend(list(lines.series), "line"), axis_label(lines.y_label),
        tag("div", said, scale(y), field, under, tag("p", lines.x_label, class_="axis"), class_="curve"),
    )  # fmt: skip


def draw_curves(curves: Curves) -> Html:
    """Return curves inside the unit square, with the diagonal that they are compared to."""
    if not any(curves.series.values()):
        return tag("p", "Nothing was measured.", class_="note")
    axis = Axis(0.0, 1.0, UNIT)
    diagonal = tag("line", x1=0, x2="100%", y1="100%", y2=0, class_="pointer") if curves.diagonal else EMPTY
    drawn = [_joined_points(points, i) for i, points in enumerate(curves.series.values()) if points]
    field = tag("svg", *grid_lines(axis), diagonal, *drawn, class_="field", role="img",
                aria_label=f"{curves.title}: curves; the numbers below say the same")  # fmt: skip
    words = [word(figure_text(t), t, is_minor=i % 2 == 1) for i, t in enumerate(axis.ticks)]
    under = tag("svg", *words, class_="words", aria_hidden="true")
    said = tag("p", f"Dotted: {curves.diagonal}.", class_="note") if curves.diagonal else EMPTY
    square = tag("div", scale(axis), field, under, tag("p", curves.x_label, class_="axis"), class_="curve square")
    return joined(legend(list(curves.series), "line"), axis_label(curves.y_label), square, said)


def _joined_points(points: Sequence[tuple[float, float]], number: int) -> Html:
    """Return one curve; few points are dotted."""
    path = " ".join(f"{1000 * x:.1f},{1000 - 1000 * y:.1f}" for x, y in points)
    line = tag("svg", tag("polyline", points=path), viewBox="0 0 1000 1000", preserveAspectRatio="none")
    dots = [tag("circle", cx=f"{100 * x:.2f}%", cy=f"{100 - 100 * y:.2f}%", r=3) for x, y in points]
    return tag("g", line, *(dots if len(points) <= _FEW_POINTS else []), class_=line_style(number))


def draw_matrix(matrix: Matrix) -> Html:
    """Return a table with shaded cells: shares by themselves, counts by their share of the row, in words too."""
    has_counts = any(value > 1 for row in matrix.values for value in row)
    labels = [label for label in (matrix.row_label, matrix.column_label) if label]
    corner = tag("td", " \\ ".join(labels), class_="corner")
    top = tag("tr", corner, *(tag("th", tag("bdi", shown(name)), scope="col") for name in matrix.columns))
    rows = []
    for name, values in zip(matrix.rows, matrix.values, strict=True):
        whole = sum(values) if has_counts else 1.0
        cells = [_shaded(value, value / whole if whole else 0.0, has_counts) for value in values]
        rows.append(tag("tr", tag("th", tag("bdi", shown(name)), scope="row"), *cells))
    said = "Shaded by the share of the row." if has_counts else ""
    grid = tag("table", tag("caption", matrix.title, class_="unseen"), tag("thead", top), tag("tbody", *rows),
               class_="matrix")  # fmt: skip
    box = tag("div", grid, class_="scroll whole", tabindex=0, role="region", aria_label=matrix.title)
    return joined(box, tag("p", said, class_="note") if said else EMPTY)


def _is_drawn(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _curve(places: Sequence[float], values: Sequence[float | None], x: Axis, y: Axis, number: int) -> Html:
    """Return one curve; where a value is missing there is a gap, and few points are dotted."""
    points = [(x.along(at), y.down(v)) if _is_drawn(v) else None
              for at, v in zip(places, values, strict=True)]  # fmt: skip
    parts = [
        tag("line", x1=a[0], y1=a[1], x2=b[0], y2=b[1]) for a, b in pairwise(points) if a is not None and b is not None
    ]
    if len(points) <= _FEW_POINTS:
        parts += [tag("circle", cx=point[0], cy=point[1], r=3) for point in points if point is not None]
    return tag("g", *parts, class_=line_style(number))


def _lying(bars: Bars, top: float) -> Html:
    """Return named bars below each other, with their numbers beside them."""
    rows = []
    for label, values in zip(bars.labels, zip(*bars.series.values(), strict=True), strict=True):
        rects = [
            tag("rect", y=i * _BAR_PX, width=_width(value, top), height=_BAR_PX - 3, rx=2, class_=bar_style(i))
            for i, value in enumerate(values)
        ]
        drawing = tag("svg", *rects, width="100%", height=_BAR_PX * len(values) - 3, aria_hidden="true")
        said = joined(*(tag("div", figure_text(value)) for value in values))
        rows.append(tag("tr", tag("th", tag("bdi", shown(label)), scope="row"), tag("td", drawing, class_="drawing"),
                        tag("td", said, class_="number")))  # fmt: skip
    body = tag("table", tag("caption", bars.title, class_="unseen"), tag("tbody", *rows), class_="lying")
    return tag("div", body, class_="scroll whole", tabindex=0, role="region", aria_label=f"{bars.title}: bars")


def _upright(bars: Bars, top: float) -> Html:
    """Return the bars of a histogram beside each other."""
    axis = Axis.over([0.0, top], from_zero=True)
    n, n_series = len(bars.labels), len(bars.series)
    slot = 100 / n
    width = 0.88 * slot / n_series
    grid = grid_lines(axis)
    rects = [
        tag("rect", x=f"{slot * i + 0.06 * slot + width * s:.3f}%", width=f"{width:.3f}%", y=axis.down(value),
            height=f"{100 * axis.share(value):.2f}%", class_=bar_style(s))
        for s, values in enumerate(bars.series.values())
        for i, value in enumerate(values)
        if value > 0
    ]  # fmt: skip
    field = tag("svg", *grid, *rects, class_="field", role="img",
                aria_label=f"{bars.title}: a bar chart; the numbers below say the same")  # fmt: skip
    words = tag("svg", *_bin_words(bars.labels), class_="words", aria_hidden="true")
    return tag("div", scale(axis), field, words, class_="curve")


def _bin_words(labels: Sequence[str]) -> Iterator[Html]:
    """Yield as many of the labels as there is room for; those that only a wide page has room for are minor."""
    longest = min(max(map(len, labels)), 24) + 2
    wide = max(1, math.ceil(len(labels) * longest / _WIDE_CHARS))
    narrow = wide * max(1, math.ceil(len(labels) * longest / _NARROW_CHARS / wide))
    for i in range(0, len(labels), wide):
        label = labels[i] if len(labels[i]) <= 24 else f"{labels[i][:23]}…"
        yield word(shown(label), (i + 0.5) / len(labels), is_minor=i % narrow != 0)


def _width(value: float, top: float) -> str:
    """Return a bar's width; what is rare is seen, if not to scale."""
    return f"{max(100 * value / top, 0.4):.2f}%" if value > 0 else "0"


def _shaded(value: float, share: float, has_counts: bool) -> Html:
    shade = min(int(share * _N_SHADES), _N_SHADES - 1)
    said = tag("small", f"{100 * share:.0f} %") if has_counts and value else EMPTY
    return tag("td", figure_text(value), said, class_=f"number q q{shade}")

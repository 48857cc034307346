"""Charts as SVG that fills whatever width there is; lines and words beside it keep their size.

Positions are percentages and view boxes, colours are classes: the page allows no style attributes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.audit.report.markup import EMPTY, Html, joined, tag
from guardrail.audit.report.wording import number

_HEIGHT = 1000
_LEAST = 10
"""Least height of a bar that is not 0, in thousandths of the chart: what is rare is seen, if not to scale."""

_MIN_BINS = 12
"""A chart of fewer bins leaves room behind them, so that one bar does not look like much."""


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart.

    Attributes:
        name: in the legend.
        style: its class in the style sheet.
        values: one a bin.
    """

    name: str
    style: str
    values: Sequence[int]


@dataclass(frozen=True, slots=True)
class Mark:
    """A word under a chart, beginning at a bin; a minor one is left out on narrow screens."""

    bin: int
    text: str
    is_minor: bool = False


def bars(title: str, series: Sequence[Series], marks: Sequence[Mark], rows: str) -> Html:
    """Return stacked bars with their axis and legend.

    Args:
        title: for those who do not see it.
        series: from the bottom to the top, with equally many bins; those that are all 0 are left out.
        marks: words under it.
        rows: id of the table's body that says the same, one row a bin.
    """
    series = [one for one in series if any(one.values)]
    if not series:
        return EMPTY
    n_bins = max(len(series[0].values), _MIN_BINS)
    top = nice_top(max(map(sum, zip(*(one.values for one in series), strict=True))))
    grid = [tag("line", x1=0, x2=n_bins, y1=y, y2=y, class_="grid") for y in (0, _HEIGHT // 2, _HEIGHT)]
    plot = tag(
        "svg", *grid, *_stacked(series, top), class_="plot", viewBox=f"0 0 {n_bins} {_HEIGHT}",
        preserveAspectRatio="none", role="img", aria_label=f"{title}: a bar chart; the table below it says the same",
        data_rows=rows, data_bins=n_bins,
    )  # fmt: skip
    scale = [
        tag("text", number(value), x="100%", y=f"{100 - 100 * value / top:g}%", dy="0.32em", text_anchor="end")
        for value in ((0, top) if top % 2 else (0, top // 2, top))
    ]
    axis = tag("svg", *scale, class_="scale", aria_hidden="true")
    words = tag("svg", *(_word(mark, n_bins) for mark in marks), class_="words", aria_hidden="true")
    return joined(legend(series), tag("div", axis, plot, words, class_="chart"))


def legend(series: Sequence[Series]) -> Html:
    """Return what the colours mean, with the sum of each."""
    return tag(
        "ul",
        *(
            tag("li", swatch(one.style), f"{one.name} ", tag("b", number(sum(one.values))))
            for one in series
        ),
        class_="legend",
    )  # fmt: skip


def swatch(style: str) -> Html:
    """Return a square in the colour of a series."""
    return tag("svg", tag("rect", width=10, height=10, rx=2), class_=f"swatch {style}", aria_hidden="true")


def strip(parts: Sequence[tuple[str, int]], top: int) -> Html:
    """Return a horizontal bar of parts, each by its class and size, where `top` fills the width."""
    drawn, x = [], 0.0
    for style, size in parts:
        if size:
            width = max(100 * size / top, 0.5)
            drawn.append(tag("rect", x=f"{x:.2f}%", width=f"{width:.2f}%", height="100%", class_=style))
            x += width
    return tag("svg", *drawn, class_="strip", aria_hidden="true")


def spread(values: Sequence[float | None], low: float, high: float) -> Html:
    """Return percentiles, the last one the maximum, as dots on a line, on a logarithmic scale from `low` to `high`."""
    places = [f"{100 * log_share(value, low, high):.2f}%" for value in values if value is not None]
    if not places:
        return EMPTY
    line = tag("line", x1=places[0], x2=places[-1], y1="50%", y2="50%", class_="line")
    dots = [tag("circle", cx=place, cy="50%", r=4, class_=f"p p{i}") for i, place in enumerate(places)]
    return tag("svg", tag("svg", line, *reversed(dots), class_="inside"), class_="spread", aria_hidden="true")


def log_share(value: float, low: float, high: float) -> float:
    """Return where a value lies between two others on a logarithmic scale, in [0, 1]."""
    if high <= low:
        return 0.5
    return (math.log(max(value, low)) - math.log(low)) / (math.log(high) - math.log(low))


def nice_top(value: int) -> int:
    """Return the least of 1, 2, 3, 4, 5, 6, 8 and 10, times a power of ten, that is not below a value of at least 1."""
    power: int = 10 ** (len(str(value)) - 1)
    return power * next(digit for digit in (1, 2, 3, 4, 5, 6, 8, 10) if digit * power >= value)


def _stacked(series: Sequence[Series], top: int) -> list[Html]:
    """Return one path for each series."""
    below = [0.0] * len(series[0].values)
    paths = []
    for one in series:
        steps = []
        for i, value in enumerate(one.values):
            if value:
                height = max(_HEIGHT * value / top, _LEAST)
                y = max(_HEIGHT - below[i] - height, 0)
                steps.append(f"M{i + 0.06:.2f} {y:.0f}h.88v{min(height, _HEIGHT - below[i]):.1f}h-.88z")
                below[i] = min(below[i] + height, _HEIGHT)
        paths.append(tag("path", d="".join(steps), class_=one.style))
    return paths


def _word(mark: Mark, n_bins: int) -> Html:
    place = mark.bin / n_bins
    anchor = "start" if place < 0.08 else "end" if place > 0.92 else "middle"
    return tag(
        "text",
        mark.text,
        x=f"{100 * place:.2f}%",
        y="1em",
        text_anchor=anchor,
        class_="minor" if mark.is_minor else None,
    )

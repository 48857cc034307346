"""Pictures of a stage's report as SVG that fills whatever width there is.

Positions are percentages, so that words and lines keep their size; colours are classes: the page allows no style
attributes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeGuard

from guardrail.audit.report.chart import swatch
from guardrail.audit.report.markup import EMPTY, Html, joined, tag
from guardrail.audit.report.wording import NONE
from guardrail.audit.wording import shown
from guardrail.training.recipe.figures import Bars, Lines, Matrix

_N_COLOURS = 6
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
    return joined(_legend(names), _label(bars.y_label), drawn)


def draw_lines(lines: Lines) -> Html:
    """Return curves with their axes and the places that are pointed at."""
    values = [v for series in lines.series.values() for v in series if _is_drawn(v)]
    if not lines.x or not values:
        return tag("p", "Nothing was measured.", class_="note")
    x = _Axis.over([*lines.x, *lines.marks.values()], from_zero=False)
    y = _Axis.over(values, from_zero=min(values) >= 0 and min(values) <= max(values) / 2)
    grid = [tag("line", x1=0, x2="100%", y1=y.down(t), y2=y.down(t), class_="grid") for t in y.ticks]
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
    words = [_word(figure_text(t), x.share(t), is_minor=i % 2 == 1) for i, t in enumerate(x.ticks)]
    under = tag("svg", *words, class_="words", aria_hidden="true")
    return joined(
        _legend(list(lines.series), "line"), _label(lines.y_label),
        tag("div", said, _scale(y), field, under, tag("p", lines.x_label, class_="axis"), class_="curve"),
    )  # fmt: skip


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


def figure_text(value: float | str | None) -> str:
    """Return a number as pages show it: thousands apart, three digits of what is small."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NONE
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    short = f"{value:.3g}"  # rounded before it is looked at: 999.7 is a thousand, not 1e+03
    return f"{round(value):,}" if 1000 <= abs(float(short)) < math.inf else short


@dataclass(frozen=True, slots=True)
class _Axis:
    """Numbers from `low` to `high`, with round ones between."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Sequence[float], *, from_zero: bool) -> "_Axis":
        """Return an axis that holds values; it begins and ends at round numbers when it begins at 0."""
        low, high = min(values), max(values)
        low = 0.0 if from_zero else low
        if high <= low:
            spare = abs(low) or 1.0
            low, high = low - spare / 2, high + spare / 2
        step = _round_step((high - low) / 4)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        ticks = tuple(float(f"{i * step:.12g}") for i in range(first, last + 1))
        return cls(ticks[0], ticks[-1], ticks)

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def along(self, value: float) -> str:
        return f"{100 * self.share(value):.2f}%"

    def down(self, value: float) -> str:
        return f"{100 - 100 * self.share(value):.2f}%"


def _round_step(least: float) -> float:
    """Return the least of 1, 2, 2.5, 5 and 10 times a power of ten that is not below a number."""
    power = float(10 ** math.floor(math.log10(least)))
    return next(digit * power for digit in (1, 2, 2.5, 5, 10) if digit * power >= least * (1 - 1e-9))


def _is_drawn(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _curve(places: Sequence[float], values: Sequence[float | None], x: _Axis, y: _Axis, number: int) -> Html:
    """Return one curve; where a value is missing there is a gap, and few points are dotted."""
    style = f"c-{number % _N_COLOURS}" + (" dashed" if number >= _N_COLOURS else "")
    points = [(x.along(at), y.down(v)) if _is_drawn(v) else None
              for at, v in zip(places, values, strict=True)]  # fmt: skip
    parts = [
        tag("line", x1=a[0], y1=a[1], x2=b[0], y2=b[1]) for a, b in pairwise(points) if a is not None and b is not None
    ]
    if len(points) <= _FEW_POINTS:
        parts += [tag("circle", cx=point[0], cy=point[1], r=3) for point in points if point is not None]
    return tag("g", *parts, class_=f"curve-line {style}")


def _lying(bars: Bars, top: float) -> Html:
    """Return named bars below each other, with their numbers beside them."""
    rows = []
    for label, values in zip(bars.labels, zip(*bars.series.values(), strict=True), strict=True):
        rects = [
            tag("rect", y=i * _BAR_PX, width=_width(value, top), height=_BAR_PX - 3, rx=2, class_=_colour(i))
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
    axis = _Axis.over([0.0, top], from_zero=True)
    n, n_series = len(bars.labels), len(bars.series)
    slot = 100 / n
    width = 0.88 * slot / n_series
    grid = [tag("line", x1=0, x2="100%", y1=axis.down(t), y2=axis.down(t), class_="grid") for t in axis.ticks]
    rects = [
        tag("rect", x=f"{slot * i + 0.06 * slot + width * s:.3f}%", width=f"{width:.3f}%", y=axis.down(value),
            height=f"{100 * axis.share(value):.2f}%", class_=_colour(s))
        for s, values in enumerate(bars.series.values())
        for i, value in enumerate(values)
        if value > 0
    ]  # fmt: skip
    field = tag("svg", *grid, *rects, class_="field", role="img",
                aria_label=f"{bars.title}: a bar chart; the numbers below say the same")  # fmt: skip
    words = tag("svg", *_bin_words(bars.labels), class_="words", aria_hidden="true")
    return tag("div", _scale(axis), field, words, class_="curve")


def _bin_words(labels: Sequence[str]) -> Iterator[Html]:
    """Yield as many of the labels as there is room for; those that only a wide page has room for are minor."""
    longest = min(max(map(len, labels)), 24) + 2
    wide = max(1, math.ceil(len(labels) * longest / _WIDE_CHARS))
    narrow = wide * max(1, math.ceil(len(labels) * longest / _NARROW_CHARS / wide))
    for i in range(0, len(labels), wide):
        label = labels[i] if len(labels[i]) <= 24 else f"{labels[i][:23]}…"
        yield _word(shown(label), (i + 0.5) / len(labels), is_minor=i % narrow != 0)


def _word(text: str, place: float, *, is_minor: bool) -> Html:
    return tag("text", text, x=f"{100 * place:.2f}%", y="1.1em", text_anchor=_anchor(place),
               class_="minor" if is_minor else None)  # fmt: skip


def _anchor(place: float) -> str:
    """Return how a word stands to its place, so that it does not leave the picture."""
    return "start" if place < 0.04 else "end" if place > 0.96 else "middle"


def _scale(axis: _Axis) -> Html:
    words = [tag("text", figure_text(t), x="100%", y=axis.down(t), dy="0.32em", text_anchor="end") for t in axis.ticks]
    return tag("svg", *words, class_="scale", aria_hidden="true")


def _width(value: float, top: float) -> str:
    """Return a bar's width; what is rare is seen, if not to scale."""
    return f"{max(100 * value / top, 0.4):.2f}%" if value > 0 else "0"


def _colour(series: int) -> str:
    return f"s-k{series % _N_COLOURS}"


def _legend(names: Sequence[str], kind: str = "bar") -> Html:
    if not names:
        return EMPTY
    items = []
    for i, name in enumerate(names):
        line = tag("svg", tag("g", tag("line", x1=0, x2="100%", y1="50%", y2="50%"),
                   class_=f"curve-line c-{i % _N_COLOURS}" + (" dashed" if i >= _N_COLOURS else "")),
                   class_="sample", aria_hidden="true")  # fmt: skip
        items.append(tag("li", line if kind == "line" else swatch(_colour(i)), tag("bdi", shown(name))))
    return tag("ul", *items, class_="legend")


def _label(text: str) -> Html:
    return tag("p", text, class_="axis") if text else EMPTY


def _shaded(value: float, share: float, has_counts: bool) -> Html:
    shade = min(int(share * _N_SHADES), _N_SHADES - 1)
    said = tag("small", f"{100 * share:.0f} %") if has_counts and value else EMPTY
    return tag("td", figure_text(value), said, class_=f"number q q{shade}")

"""What pictures have around them: axes, words under them, legends, and numbers as pages write them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.audit.report.chart import swatch
from guardrail.audit.report.markup import EMPTY, Html, tag
from guardrail.audit.report.wording import NONE
from guardrail.audit.wording import shown

N_COLOURS = 6
"""Colours of series; a seventh series is dashed, in the first colour."""

UNIT = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Round numbers along a share."""


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
class Axis:
    """Numbers from `low` to `high`, with round ones between."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Sequence[float], *, from_zero: bool) -> "Axis":
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
        """Return where a value lies between both ends, in [0, 1]."""
        return (value - self.low) / (self.high - self.low)

    def along(self, value: float) -> str:
        """Return a value's place from the left."""
        return f"{100 * self.share(value):.2f}%"

    def down(self, value: float) -> str:
        """Return a value's place from the top."""
        return f"{100 - 100 * self.share(value):.2f}%"


def _round_step(least: float) -> float:
    """Return the least of 1, 2, 2.5, 5 and 10 times a power of ten that is not below a number."""
    power = float(10 ** math.floor(math.log10(least)))
    return next(digit * power for digit in (1, 2, 2.5, 5, 10) if digit * power >= least * (1 - 1e-9))


def word(text: str, place: float, *, is_minor: bool) -> Html:
    """Return a word under a picture at a place in [0, 1]; a minor one is left out where there is little room."""
    return tag("text", text, x=f"{100 * place:.2f}%", y="1.1em", text_anchor=_anchor(place),
               class_="minor" if is_minor else None)  # fmt: skip


def _anchor(place: float) -> str:
    """Return how a word stands to its place, so that it does not leave the picture."""
    return "start" if place < 0.04 else "end" if place > 0.96 else "middle"


def grid_lines(axis: Axis) -> list[Html]:
    """Return the lines across a picture at an axis' round numbers."""
    return [tag("line", x1=0, x2="100%", y1=axis.down(t), y2=axis.down(t), class_="grid") for t in axis.ticks]


def scale(axis: Axis) -> Html:
    """Return the numbers beside a picture."""
    words = [tag("text", figure_text(t), x="100%", y=axis.down(t), dy="0.32em", text_anchor="end") for t in axis.ticks]
    return tag("svg", *words, class_="scale", aria_hidden="true")


def legend(names: Sequence[str], kind: str = "bar") -> Html:
    """Return what the colours mean; `kind` is "bar" or "line"."""
    if not names:
        return EMPTY
    items = []
    for i, name in enumerate(names):
        line = tag("svg", tag("g", tag("line", x1=0, x2="100%", y1="50%", y2="50%"), class_=line_style(i)),
                   class_="sample", aria_hidden="true")  # fmt: skip
        items.append(tag("li", line if kind == "line" else swatch(bar_style(i)), tag("bdi", shown(name))))
    return tag("ul", *items, class_="legend")


def bar_style(series: int) -> str:
    """Return the class of a series of bars."""
    return f"s-k{series % N_COLOURS}"


def line_style(series: int) -> str:
    """Return the classes of a curve."""
    return f"curve-line c-{series % N_COLOURS}" + (" dashed" if series >= N_COLOURS else "")


def axis_label(text: str) -> Html:
    """Return what an axis counts."""
    return tag("p", text, class_="axis") if text else EMPTY

"""What a page shows: values, tables and pictures, drawn by `page.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Scalar = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table; numbers are shown to the right.

    Attributes:
        title: in a few words.
        columns: their names.
        rows: values, one a column.
        note: one sentence below it; may be empty.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Scalar]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """Counts or shares by name, or a histogram.

    Attributes:
        title: in a few words.
        labels: one a bar.
        series: by name, values not below 0, one a bar; drawn beside each other.
        y_label: what a value is.
    """

    title: str
    labels: Sequence[str]
    series: Mapping[str, Sequence[float]]
    y_label: str = ""


@dataclass(frozen=True, slots=True)
class Lines:
    """Curves over a number.

    Attributes:
        title: in a few words.
        x: places of the points.
        series: by name, one value a point; None leaves a gap.
        x_label: what x is.
        y_label: what a value is.
        marks: places on x to point at, by name.
    """

    title: str
    x: Sequence[float]
    series: Mapping[str, Sequence[float | None]]
    x_label: str = ""
    y_label: str = ""
    marks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Matrix:
    """A table of counts or shares, shaded: a confusion, say.

    Attributes:
        title: in a few words.
        rows: names, downwards.
        columns: names, across.
        values: one row each, not below 0.
        row_label: what the rows are.
        column_label: what the columns are.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]
    row_label: str = ""
    column_label: str = ""


@dataclass(frozen=True, slots=True)
class Curves:
    """Curves inside the unit square, each with points of its own: shares against shares.

    Attributes:
        title: in a few words.
        series: by name, points (x, y) in [0, 1], in the order in which they are joined.
        x_label: what x is.
        y_label: what y is.
        diagonal: what the line from corner to corner means; empty draws none.
    """

    title: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    x_label: str = ""
    y_label: str = ""
    diagonal: str = ""


Figure = Table | Bars | Lines | Matrix | Curves


@dataclass(frozen=True, slots=True)
class Summary:
    """What a stage of the recipe, or a measuring, says of its run.

    Attributes:
        values: JSON values by name, for machines; a stage's go into its manifest.
        figures: in order, for people.
        warnings: one sentence each: what the user should look at.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    warnings: tuple[str, ...] = ()

"""Tables as text cells: one set for the terminal and for Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.markup import escape
from rich.table import Table

from guardrail.evaluation.metrics import Estimate, Scores

NONE = "-"
"""Stands for a figure that there is not."""


@dataclass(frozen=True, slots=True)
class Cells:
    """One table.

    Attributes:
        title: what it shows.
        header: column names.
        rows: cells as text.
        note: one sentence below it; may be empty.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def ratio(estimate: Estimate) -> str:
    """Return a figure with its interval, three digits."""
    return _spread(estimate, 3)


def percent(estimate: Estimate) -> str:
    """Return a share with its interval, in percent."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return NONE
    return f"{100 * estimate.value:.1f} % ({100 * estimate.low:.1f}-{100 * estimate.high:.1f})"


def signed(estimate: Estimate) -> str:
    """Return a difference with its interval, three digits, with its sign; an interval without 0 has a star."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return NONE
    star = " *" if estimate.low > 0 or estimate.high < 0 else ""
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f}){star}"


def plain(estimate: Estimate) -> str:
    """Return a figure of any size with its interval, two digits."""
    return _spread(estimate, 2)


def found(scores: Scores) -> tuple[str, str, str]:
    """Return precision, recall and F1."""
    return percent(scores.precision), percent(scores.recall), ratio(scores.f1)


def _spread(estimate: Estimate, digits: int) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return NONE
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f}-{estimate.high:.{digits}f})"


def to_rich(cells: Cells) -> Table:
    """Return a table for the terminal; brackets in names are text, not markup."""
    table = Table(
        title=escape(cells.title), title_justify="left", caption=escape(cells.note) or None, caption_justify="left",
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for name in cells.header:
        table.add_column(escape(name))
    for row in cells.rows:
        table.add_row(*map(escape, row))
    return table


def to_markdown(cells: Cells) -> str:
    """Return a table for a page."""
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in (cells.header, *cells.rows)]
    lines = [escaped[0], ["---"] * len(cells.header), *escaped[1:]]
    note = f"\n{cells.note}\n" if cells.note else ""
    return f"## {cells.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n{note}"

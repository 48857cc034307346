"""Pieces that several sections of the page share: cards, tables, cells."""

from collections.abc import Sequence

from guardrail.audit.report.chart import strip
from guardrail.audit.report.figures import Counts, Listed
from guardrail.audit.report.markup import EMPTY, Html, joined, tag
from guardrail.audit.report.wording import NONE, moment_text, number, rest_text
from guardrail.audit.wording import shown

ACTIONS = ("allow", "flag", "ask", "stop")

COUNTED = (*ACTIONS, "would stop")
"""Heads of the columns that `counted` fills."""

_TEXTS = ("first", "last", "message of the first")


def card(title: str, *content: str, id_: str, lead: str = "") -> Html:
    """Return a section with its title."""
    said = tag("p", lead, class_="lead") if lead else EMPTY
    return tag("section", tag("h2", title, id=f"{id_}-title"), said, *content, class_="card", id=id_,
               aria_labelledby=f"{id_}-title")  # fmt: skip


def head(*names: str, n_texts: int = 1) -> Html:
    """Return a table's head: the first columns are text, the others numbers but for `_TEXTS`; "" is a drawing."""
    cells = [
        tag("th", name or tag("span", "share", class_="unseen"), scope="col",
            class_="drawing" if not name else None if i < n_texts or name in _TEXTS else "number")
        for i, name in enumerate(names)
    ]  # fmt: skip
    return tag("thead", tag("tr", *cells))


def table(title: str, top: Html, rows: Sequence[Html], *, id_: str | None = None, is_sortable: bool = False) -> Html:
    """Return a table that scrolls by itself where it is too long or wide."""
    made = tag(
        "table", tag("caption", title, class_="unseen"), top, tag("tbody", *rows, id=id_),
        class_="sortable" if is_sortable else None,
    )  # fmt: skip
    return tag("div", made, class_="scroll", tabindex=0, role="region", aria_label=title)


def folded(title: str, inside: Html) -> Html:
    """Return something that is shown when it is asked for."""
    return tag("details", tag("summary", title), inside)


def name_cell(text: str) -> Html:
    """Return a row's name; it is somebody else's text."""
    return tag("th", tag("bdi", shown(text) or NONE), scope="row")


def text_cell(text: str, style: str | None = None) -> Html:
    """Return a cell of somebody else's text."""
    return tag("td", tag("bdi", shown(text) or NONE), class_=style)


def time_cell(iso: str | None) -> Html:
    """Return a cell with a time."""
    return tag("td", moment_text(iso)[:16], data_value=iso or "", class_="time")


def number_cell(value: float | None, shown_as: str | None = None, style: str = "") -> Html:
    """Return a cell with a number."""
    is_zero = " zero" if value == 0 else ""
    return tag("td", number(value) if shown_as is None else shown_as, class_=f"number{is_zero} {style}".rstrip(),
               data_value="" if value is None else value)  # fmt: skip


def counted(counts: Counts) -> Html:
    """Return the cells of `COUNTED`."""
    cells = [number_cell(getattr(counts, name), style=name if getattr(counts, name) else "") for name in ACTIONS]
    return joined(*cells, number_cell(counts.would_stop))


def strip_cell(counts: Counts, top: int) -> Html:
    """Return a cell with a bar of all actions, where `top` decisions fill it."""
    parts = [(f"s-{name}", getattr(counts, name)) for name in ACTIONS]
    return tag("td", strip(parts, top), class_="drawing")


def left_out(listed: Listed | None) -> Html:
    """Return what a table does not show."""
    said = rest_text(listed)
    return tag("p", said, class_="note") if said else EMPTY

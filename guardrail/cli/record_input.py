"""Records as commands read them: which of a store, with a count on stderr while it lasts."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from guardrail.records import Record, Span
from guardrail.records.reading import moment

_AT_ONCE = 500


def span_of(since: str | None, until: str | None, tenant: str | None) -> Span:
    """Return which records are meant.

    Raises:
        RecordError: a time is none.
    """
    return Span(moment(since) if since else None, moment(until) if until else None, tenant)


def counted(records: Iterable[Record], n_about: int | None = None) -> Iterator[Record]:
    """Yield records; in a terminal, say meanwhile how many there were, of about so many if that is known."""
    with counting("records", n_about) as advance:
        for i, record in enumerate(records, 1):
            yield record
            if i % _AT_ONCE == 0:
                advance(_AT_ONCE)


@contextmanager
def counting(what: str, n_about: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show on stderr how many were looked at, if somebody looks; gives what counts more of them."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    told = "{task.completed:,.0f}" + (f" of about {n_about:,}" if n_about is not None else "")
    columns = (SpinnerColumn(), TextColumn(f"{told} {what}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=n_about)
        yield lambda n: bar.advance(task, n)

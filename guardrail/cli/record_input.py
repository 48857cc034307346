"""Records as commands read them: which of a store, with a count on stderr while it lasts."""

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from guardrail.records import Record, Span
from guardrail.records.reading import moment

_AT_ONCE = 500


def span_of(since: str | None, until: str | None, tenant: str | None) -> Span:
    """Return which records are meant.

    Raises:
        RecordError: a time is none.
    """
    return Span(moment(since) if since else None, moment(until) if until else None, tenant)


def counted(records: Iterable[Record]) -> Iterator[Record]:
    """Yield records; in a terminal, say meanwhile how many there were."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from records
        return
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} records"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("records", total=None)
        for i, record in enumerate(records, 1):
            yield record
            if i % _AT_ONCE == 0:
                bar.advance(task, _AT_ONCE)

"""`guardrail report`: what happened, from the records."""

import json as json_module
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from guardrail.audit.report import Summary, make_report, tables, to_html
from guardrail.cli.options import Flag
from guardrail.errors import ConfigurationError
from guardrail.records import Record, Skipped, Span, read_records
from guardrail.records.jsonl import rotated_files
from guardrail.records.reading import moment, store_kind

_PIPED_WIDTH = 140
_AT_ONCE = 500


def report(
    store: str,
    *,
    html: Path | None = None,
    since: str | None = None,
    until: str | None = None,
    tenant: str | None = None,
    json: Flag = False,
) -> None:
    """Say what a store of records tells: decisions over time, harm, latency, stops, failures, conversations, versions.

    ```sh
    guardrail report decisions.jsonl
    guardrail report decisions.db --since 2026-11-01 --until 2026-12-01 --html november.html
    guardrail report postgresql://guard@db/guard --tenant shop --json | jq .counts
    ```

    The page is one file that asks nobody for anything; it may be opened from the disk, mailed and printed. Records are
    read once, in bounded memory, however many there are. Lines that hold no record are counted and shown.

    Args:
        store: file of JSON lines (its rotated files are read too), SQLite file, or database URL.
        html: file for the page; one that exists is replaced.
        since: first moment that counts: 2026-11-01, or 2026-11-01T12:00, with +01:00 if it is not UTC.
        until: first moment that does not count any more.
        tenant: whose records; unset takes everybody's.
        json: print one JSON object instead of tables.
    """
    if html and html.is_dir():
        raise ConfigurationError(f"{html} is a folder", hint="name a file for the page")
    if html and not html.absolute().parent.is_dir():
        raise ConfigurationError(f"no folder {html.parent} for the page")
    span = Span(moment(since) if since else None, moment(until) if until else None, tenant)
    skipped = Skipped()
    summary = Summary.of(_watched(read_records(store, span, skipped=skipped), _n_lines(store, span)))
    made = make_report(summary, _name(store), span, skipped, made_at=datetime.now(UTC))
    if html:
        _replace(html, to_html(made))
    if json:
        print(json_module.dumps(made.to_json()))
        return
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    for piece in tables(made):
        console.print(piece)
    if html:
        console.print(f"The page: {html}", soft_wrap=True)


def _name(store: str) -> str:
    """Return what a store is called: of a path its last part, of a URL nothing that lets anybody in."""
    if "://" not in store:
        return Path(store).name
    url = urlsplit(store)
    try:
        return f"{url.scheme}://{url.hostname or ''}{f':{url.port}' if url.port else ''}{url.path}"
    except ValueError:
        return url.scheme


def _watched(records: Iterator[Record], n_lines: int | None) -> Iterator[Record]:
    """Yield records, with a bar on stderr while it lasts."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from records
        return
    columns = (SpinnerColumn(), TextColumn("records"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("records", total=n_lines)
        for i, record in enumerate(records, 1):
            yield record
            if i % _AT_ONCE == 0:
                bar.advance(task, _AT_ONCE)


def _n_lines(store: str, span: Span) -> int | None:
    """Return how many records will be read, about; None where that cannot be told at once."""
    if span != Span() or store_kind(store) != "jsonl" or not Console(stderr=True).is_terminal:
        return None
    path, n = Path(store), 0
    for file in [*rotated_files(path), *([path] if path.is_file() else [])]:
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                n += block.count(b"\n")
    return n


def _replace(path: Path, page: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(page, "utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)

"""`guardrail report`: what happened, from the records."""

import json as json_module
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from guardrail.audit.report import Summary, make_report, tables, to_html
from guardrail.cli.options import Flag
from guardrail.cli.record_input import counted, span_of
from guardrail.cli.show import table_console
from guardrail.errors import ConfigurationError
from guardrail.records import Skipped, Span, read_records, without_password
from guardrail.records.jsonl import rotated_files
from guardrail.records.reading import store_kind
from guardrail.records.targets import refuse_source, whole

_PIPED_WIDTH = 140


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

    The page is one file that asks nobody for anything; it may be opened from the disk, mailed and printed. It names
    conversations and tenants, so it is its owner's alone (mode 600). Records are read once, in bounded memory, however
    many there are. Lines that hold no record are counted and shown.

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
    if html:
        refuse_source(html, store)
    span, skipped = span_of(since, until, tenant), Skipped()
    summary = Summary.of(counted(read_records(store, span, skipped=skipped), _n_lines(store, span)))
    made = make_report(summary, _name(store), span, skipped, made_at=datetime.now(UTC))
    if html:
        with whole(html) as page:
            page.write_text(to_html(made), "utf-8")
    if json:
        print(json_module.dumps(made.to_json()))
        return
    console = table_console(_PIPED_WIDTH)
    for piece in tables(made):
        console.print(piece)
    if html:
        console.print(f"The page: {html}", soft_wrap=True)


def _name(store: str) -> str:
    """Return what a store is called: of a path its last part, of a URL nothing that is secret."""
    return without_password(store) if "://" in store else Path(store).name


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

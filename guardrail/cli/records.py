"""`guardrail records`: what a store holds, taken out of it or written for other programs."""

import json as json_module
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from guardrail.audit.wording import shown
from guardrail.cli.exits import Exit
from guardrail.cli.options import Flag
from guardrail.cli.record_input import counted, counting, span_of
from guardrail.cli.show import plain_console
from guardrail.errors import ConfigurationError
from guardrail.records import Skipped, Span, read_records
from guardrail.records.exporting import export_records
from guardrail.records.pruning import prune_records
from guardrail.records.reading import moment, time_of
from guardrail.records.targets import refuse_source

_REMAINS = "the file was being read: what was deleted is still in it or its log; prune again when nobody reads it"

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def count(
    store: str, *, since: str | None = None, until: str | None = None, tenant: str | None = None, json: Flag = False
) -> int:
    """Say how many records a store holds, and from when.

    ```sh
    guardrail records count decisions.jsonl
    guardrail records count postgresql://guard@db/guard --since 2026-11-01 --json
    ```

    Records whose time cannot be read are counted, and once more as `timeless`. Exits with 1 when lines or rows could
    not be read: torn, damaged, or of a version that is not known yet.

    Args:
        store: file of JSON lines (its rotated files are read too), SQLite file, or database URL.
        since: first moment that counts: 2026-11-01, or 2026-11-01T12:00, with +01:00 if it is not UTC.
        until: first moment that does not count any more.
        tenant: whose records; unset takes everybody's.
        json: print one JSON object.
    """
    skipped, n, n_timeless, first, last = Skipped(), 0, 0, None, None
    for record in counted(read_records(store, span_of(since, until, tenant), skipped=skipped)):
        n += 1
        if (time := time_of(record)) is None:
            n_timeless += 1
        else:
            first, last = min(first or time, time), max(last or time, time)
    found = {
        "records": n,
        "first": first and first.isoformat(),
        "last": last and last.isoformat(),
        "timeless": n_timeless,
        "unreadable": skipped.n_lines,
    }
    if json:
        print(json_module.dumps(found))
    else:
        print("\n".join(f"{name:<11}{'-' if value is None else value}" for name, value in found.items()))
    return _told(skipped)


def export(
    store: str,
    *,
    to: Path,
    since: str | None = None,
    until: str | None = None,
    tenant: str | None = None,
    vectors: Flag = False,
) -> int:
    """Write records into a file for other programs: CSV, JSON lines, or Parquet (extra `scan`).

    ```sh
    guardrail records export decisions.db --to november.csv --since 2026-11-01 --until 2026-12-01
    guardrail records export decisions.jsonl --to decisions.parquet --vectors
    ```

    The file is there whole or not at all, readable by its owner only; one that exists is replaced. Exits with 1 when
    lines or rows could not be read; the others are in the file.

    Args:
        store: file of JSON lines (its rotated files are read too), SQLite file, or database URL.
        to: file whose name ends in .csv, .jsonl or .parquet. In CSV, a text that a spreadsheet would run as a formula
            begins with an apostrophe. JSON lines are what all commands read.
        since: first moment that counts: 2026-11-01, or 2026-11-01T12:00, with +01:00 if it is not UTC.
        until: first moment that does not count any more.
        tenant: whose records; unset takes everybody's.
        vectors: in Parquet, also every judged position: its span, and the probabilities of all labels.
    """
    skipped = Skipped()
    refuse_source(to, store)
    records = read_records(store, span_of(since, until, tenant), skipped=skipped)
    n = export_records(counted(records), to, vectors=vectors)
    plain_console(stderr=True).print(f"{n} records in {to}")
    return _told(skipped)


def prune(
    store: str,
    *,
    older_than: str | None = None,
    before: str | None = None,
    tenant: str | None = None,
    dry_run: Flag = False,
    json: Flag = False,
) -> None:
    """Delete old records for good, while a guard goes on writing to the store.

    ```sh
    guardrail records prune decisions.db --older-than 90d --dry-run
    guardrail records prune decisions.jsonl --before 2026-09-01
    guardrail records prune postgresql://guard@db/guard --older-than 4w --tenant shop
    ```

    Files of JSON lines are written anew, and rotated files of which nothing is left are removed: there must be room for
    what is kept of one file. A SQLite file shrinks, and what was deleted is overwritten in it once nobody reads it: a
    line says if that was not so. In PostgreSQL, vacuum frees the space. Lines that say no time are left where they are,
    and counted.

    Args:
        store: file of JSON lines (its rotated files too), SQLite file, or database URL.
        older_than: age from which records go: 36h, 90d, 12w.
        before: or the first moment whose records stay: 2026-09-01, or 2026-09-01T12:00, with +01:00 if it is not UTC.
        tenant: whose records; unset takes everybody's.
        dry_run: only count them.
        json: print one JSON object.
    """
    if (older_than is None) == (before is None):
        raise ConfigurationError("either --older-than or --before says which records go")
    until = moment(before) if before else datetime.now(UTC) - _age(older_than or "")
    with counting("lines" if "://" not in store else "records") as advance:
        pruned = prune_records(store, Span(until=until, tenant=tenant), dry_run=dry_run, advance=advance)
    if json:
        found = {"records": pruned.n_records, "bytes": pruned.n_bytes, "unreadable": pruned.n_unreadable}
        print(json_module.dumps({**found, "gone": pruned.is_gone, "before": until.isoformat(), "dry_run": dry_run}))
        return
    freed = "" if dry_run or pruned.n_bytes is None else f", {pruned.n_bytes / 1e6:.1f} MB"
    print(
        f"{pruned.n_records} records {'would go' if dry_run else 'deleted'}{freed} (before {until:%Y-%m-%d %H:%M} UTC)"
    )
    if pruned.n_unreadable:
        plain_console(stderr=True).print(f"guardrail: {pruned.n_unreadable} lines say no time: they were left")
    if not pruned.is_gone:
        plain_console(stderr=True).print(f"guardrail: {_REMAINS}")


def _age(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,5})([hdw])", text.strip())
    if not found:
        raise ConfigurationError(f"{text[:20]!r} is no age", hint="write 36h, 90d or 12w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _told(skipped: Skipped) -> int:
    if not skipped.n_lines:
        return Exit.OK
    plain_console(stderr=True).print(
        f"guardrail: {skipped.n_lines} could not be read, the first: {shown(skipped.first)}"
    )
    return Exit.FAILED

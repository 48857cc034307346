"""Reading records back, whatever they were stored in, by today's version."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from guardrail.errors import RecordError
from guardrail.records.jsonl import rotated_files
from guardrail.records.record import Record
from guardrail.records.versions import read_record

SQLITE_MAGIC = b"SQLite format 3\x00"

MAX_LINE_BYTES = 1 << 28
"""Longest line that is read as a record. Our choice."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which records are meant.

    Attributes:
        since: first moment that counts; None sets no bound.
        until: first moment that does not count any more.
        tenant: whose; None takes everybody's.
    """

    since: datetime | None = None
    until: datetime | None = None
    tenant: str | None = None

    def holds(self, record: Record) -> bool:
        """Whether a record is meant; one whose time cannot be read lies within no bounds."""
        if self.since is None and self.until is None:
            return self.is_of(record.tenant)
        time = time_of(record)
        return time is not None and self.is_of(record.tenant) and self.includes(time)

    def is_of(self, tenant: object) -> bool:
        """Whether this tenant's records are meant."""
        return self.tenant is None or tenant == self.tenant

    def includes(self, time: datetime) -> bool:
        """Whether a moment lies within the bounds."""
        return not ((self.since and time < self.since) or (self.until and time >= self.until))


ALL = Span()


@dataclass(slots=True)
class Skipped:
    """What was no record, counted while reading.

    Attributes:
        n_lines: lines or rows that hold none: torn, damaged, or of a version that is not known.
        first: what was wrong with the first of them.
    """

    n_lines: int = 0
    first: str = ""

    def add(self, why: str) -> None:
        """Count one more."""
        self.n_lines += 1
        self.first = self.first or why


def read_records(source: str | Path, span: Span = ALL, *, skipped: Skipped | None = None) -> Iterator[Record]:
    """Yield the records of a store, in the order in which they were stored.

    Args:
        source: a file of JSON lines (its rotated files are read first), a SQLite file, or a database's URL.
        span: which of them.
        skipped: counts what could not be read; None raises at the first of them. The last line of a file is never
            counted while it has no end: its writer may still be at it.

    Raises:
        RecordError: there is no such store, or a line holds no record.
    """
    kind = store_kind(source)
    if kind == "sql":
        from guardrail.records.sql import read_rows

        found = read_rows(database_url(source), span, skipped)
    else:
        found = _read_files(Path(source), skipped)
    return filter(span.holds, found)


def store_kind(source: str | Path) -> str:
    """Return what a store is, "sql" or "jsonl", by its URL, its first bytes, or, where there is none yet, its name."""
    if isinstance(source, str) and "://" in source:
        return "sql"
    path, first = Path(source), b""
    with suppress(FileNotFoundError):  # also where it has just been rotated
        if path.is_file():
            with path.open("rb") as file:
                first = file.read(len(SQLITE_MAGIC))
    if not first:
        return _kind_by_name(path)
    return "sql" if first == SQLITE_MAGIC else "jsonl"


def _kind_by_name(path: Path) -> str:
    return "sql" if path.suffix in (".db", ".sqlite", ".sqlite3") else "jsonl"


def database_url(source: str | Path) -> str:
    """Return the URL of a database; a file is SQLite's, whose name may hold anything."""
    if isinstance(source, str) and "://" in source:
        return source
    return f"sqlite:///{quote(os.fsencode(Path(source).absolute()))}"


def moment(text: str) -> datetime:
    """Return a time as records write it, or as people do: `2026-11-30`, with or without a time; UTC unless it says so.

    Raises:
        RecordError: the text is no time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise RecordError(f"{text[:40]!r} is no time", hint="write it as 2026-11-30 or 2026-11-30T12:00:00") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def time_of(record: Record) -> datetime | None:
    """Return when a record was made; None if its time cannot be read."""
    try:
        return moment(record.time)
    except RecordError:
        return None


def _read_files(path: Path, skipped: Skipped | None) -> Iterator[Record]:
    for name, number, line in _lines_of_all(path):
        try:
            yield _parsed(line)
        except RecordError as error:
            if skipped is None:
                raise RecordError(f"{name}, line {number}: {error}") from None
            skipped.add(f"{name}, line {number}: {error}")


def _lines_of_all(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """Yield the lines of a file and its rotated files, oldest first, each with its file's name and its number.

    The youngest file is opened first of all, so that one that is rotated meanwhile is read, and read once.
    """
    with ExitStack() as stack:
        try:
            youngest = None
            with suppress(FileNotFoundError):
                youngest = stack.enter_context(path.open("rb"))
            rotated = rotated_files(path)
            if not rotated and not youngest:
                raise RecordError(f"there is no record file {path.name}")
            for old in rotated:
                with suppress(FileNotFoundError), old.open("rb") as file:  # too many of them: removed meanwhile
                    if youngest and os.path.sameopenfile(file.fileno(), youngest.fileno()):
                        break  # those behind it are younger still
                    yield from _lines(file, old.name)
            if youngest:
                yield from _lines(youngest, path.name)
        except OSError as error:
            raise RecordError(f"cannot read {path.name}: {error.strerror}") from error


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[str, int, bytes]]:
    """Yield whole lines that are not blank, as above."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if line.endswith(b"\n") and not line.isspace():
            yield name, number, line


def _parsed(line: bytes) -> Record:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"no JSON: {type(error).__name__}") from None
    return read_record(values)

"""Records read back from a database, a few at a time, without writing to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, inspect, select, type_coerce
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.types import NullType

from guardrail.errors import RecordError
from guardrail.records.reading import Skipped, Span
from guardrail.records.record import Record
from guardrail.records.sql.connecting import Database, translated
from guardrail.records.sql.migrating import revision
from guardrail.records.sql.rows import record_of
from guardrail.records.sql.tables import DECISIONS

ROWS = 256
"""Rows that are fetched at once: they may hold texts. Our choice."""


def read_rows(url: str, span: Span, skipped: Skipped | None) -> Iterator[Record]:
    """Yield the records of a database by their times, those of one moment in the order in which they were stored.

    Args:
        url: of the database.
        span: which records.
        skipped: counts rows that hold no record; None raises at the first of them.

    Raises:
        RecordError: there is no such database, it holds no records, or a row cannot be read.
    """
    database = Database.of(url)
    with reading(database) as connection:
        columns = stored_columns(connection)
        found = [_as_it_is(column) for column in columns] if database.path else columns
        query = select(*found).where(*within(span)).order_by(DECISIONS.c.time, DECISIONS.c.seq)
        with connection.execution_options(yield_per=ROWS).execute(query) as rows:
            for row in rows.mappings():
                try:
                    yield record_of(dict(row))
                except RecordError as error:
                    told = f"record {str(row['id'])[:40]!r}: {error}"
                    if skipped is None:
                        raise RecordError(told) from None
                    skipped.add(told)


def _as_it_is(column: Column[Any]) -> ColumnElement[Any]:
    """Return what a cell of SQLite holds, of whatever type: one that is damaged is found out row by row."""
    return type_coerce(column, NullType()).label(column.name)


@contextmanager
def reading(database: Database) -> Iterator[Connection]:
    """Give a connection that cannot write.

    Raises:
        RecordError: there is no such database, or it fails.
    """
    with translated(f"cannot read the {database.name}"), database.reading().connect() as connection:
        yield connection


def stored_columns(connection: Connection) -> list[Column[Any]]:
    """Return the columns of records that the database has: an older version wrote fewer.

    Raises:
        RecordError: it holds no records, or those of a newer version.
    """
    revision(connection)
    try:
        found = {column["name"] for column in inspect(connection).get_columns(DECISIONS.name)}
    except NoSuchTableError:
        raise RecordError("the database holds no records") from None
    return [column for column in DECISIONS.columns if column.name in found and column.name != "seq"]


def within(span: Span) -> list[ColumnElement[bool]]:
    """Return what holds of the rows that are meant."""
    columns, found = DECISIONS.c, []
    if span.since is not None:
        found.append(columns.time >= span.since)
    if span.until is not None:
        found.append(columns.time < span.until)
    if span.tenant is not None:
        found.append(columns.tenant == span.tenant)
    return found

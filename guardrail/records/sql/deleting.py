"""Records taken out of a database for good, a few at a time, and their space given back."""

import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, delete, func, select

from guardrail.records.reading import Span
from guardrail.records.sql.connecting import LOCK_S, Database, run_to_end, translated
from guardrail.records.sql.reading import reading, stored_columns, within
from guardrail.records.sql.tables import DECISIONS

ROWS = 1000
"""Rows of one transaction: a writer waits no longer than for these. Our choice."""

PAGES = 1000
"""Pages of a SQLite file that are given back at once, 4 MB. Our choice."""

LOOK_S = 0.05
"""Seconds between looks whether anybody reads. Our choice."""


def files_of(url: str) -> list[Path]:
    """Return the files of a database that hold records: SQLite's and its log; none of a server's.

    Raises:
        RecordError: the URL names no database that can hold records.
    """
    path = Database.of(url).path
    return [path.with_name(path.name + end) for end in ("", "-wal")] if path else []


def count_rows(url: str, span: Span) -> int:
    """Return how many rows are meant.

    Raises:
        RecordError: there is no such database, or it holds no records.
    """
    with reading(Database.of(url)) as connection:
        stored_columns(connection)
        return connection.scalar(select(func.count()).select_from(DECISIONS).where(*within(span))) or 0


def delete_rows(url: str, span: Span, advance: Callable[[int], None]) -> tuple[int, bool]:
    """Delete the rows that are meant; return how many they were, and whether nothing of them is left in a SQLite file
    or its log. Writers may go on meanwhile.

    A SQLite file shrinks, and what was in it is overwritten, which needs a moment in which nobody reads it: one is
    waited for. If there was none, the next call does it. PostgreSQL's own vacuum frees its space.

    Args:
        url: of the database.
        span: which records.
        advance: is told how many more are gone.

    Raises:
        RecordError: there is no such database, it holds no records, or it fails; what was deleted until then is gone.
    """
    database, n_deleted, is_gone = Database.of(url), 0, True
    with reading(database) as connection:  # so that no database is made where there is none
        stored_columns(connection)
    with translated(f"cannot prune the {database.name}"), database.writing().connect() as connection:
        if database.path:
            run_to_end(connection, "secure_delete = ON")
        while n := _delete_some(connection, span):
            n_deleted += n
            advance(n)
        if database.path:
            is_gone = _shrink(connection)
    return n_deleted, is_gone


def _delete_some(connection: Connection, span: Span) -> int:
    rows = select(DECISIONS.c.seq).where(*within(span)).order_by(DECISIONS.c.seq).limit(ROWS)
    with connection.begin():
        return connection.execute(delete(DECISIONS).where(DECISIONS.c.seq.in_(rows))).rowcount


def _shrink(connection: Connection) -> bool:
    """Give free pages back to the file system, first out of the database, then out of its log; return whether the log
    could be emptied.
    """
    before = -1
    while (n_free := _ask(connection, "freelist_count")) and n_free != before:
        before = n_free
        run_to_end(connection, f"incremental_vacuum({PAGES})")
    return _empty_log(connection)


def _empty_log(connection: Connection) -> bool:
    """Write the log into the database and cut it off, as soon as nobody reads; return whether that was so in time.

    SQLite's own waiting would keep writers off meanwhile, so this looks again and again.
    """
    until = time.monotonic() + LOCK_S
    run_to_end(connection, "busy_timeout = 0")
    while _ask(connection, "wal_checkpoint(TRUNCATE)"):  # says whether somebody was in the way
        if time.monotonic() > until:
            return False
        time.sleep(LOOK_S)
    return True


def _ask(connection: Connection, pragma: str) -> int:
    driver = connection.connection.driver_connection
    return int(driver.execute(f"PRAGMA {pragma}").fetchall()[0][0]) if driver is not None else 0

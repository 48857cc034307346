"""The store in a database: SQLite in a file, or PostgreSQL."""

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Insert, text
from sqlalchemy.dialects import postgresql, sqlite

from guardrail.errors import RecordError
from guardrail.records.record import Record
from guardrail.records.sql.connecting import LOCK_S, STATEMENT_S, Database, discard, run_to_end, translated
from guardrail.records.sql.migrating import migrate
from guardrail.records.sql.rows import row_of
from guardrail.records.sql.tables import DECISIONS

_SETTINGS = text(
    "SELECT set_config('statement_timeout', :timeout, true), set_config('TimeZone', 'UTC', true), "
    "set_config('synchronous_commit', CASE WHEN :is_batch THEN 'off' "
    "WHEN current_setting('synchronous_commit') = 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)"
)
"""Of one transaction in PostgreSQL. A server that waits for its standbys too goes on doing so."""

_inherited: list[Connection | None] = []
"""Connections of the parent in a forked child, kept from being closed: they are the parent's."""


class SqlStore:
    """Keeps records in the table `guardrail_decisions`, a batch a transaction. For one caller at a time.

    SQLite: a file with a write-ahead log, readable by its owner only; `sync` forces the log to the disk, and with it
    all that was stored before. PostgreSQL: `sync` is `synchronous_commit`, which stays as the server has it, at least
    `on`, and is `off` otherwise. A connection that is lost is made anew by the next call, in a forked child too.
    """

    def __init__(self, url: str) -> None:
        """Connect, and bring the tables up to date.

        Args:
            url: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE`; parameters of libpq in its query.

        Raises:
            RecordError: the database cannot be opened, or a newer version has written it.
            MissingExtra: PostgreSQL's driver is not installed.
        """
        self._database = Database.of(url)
        self._engine = self._database.writing()
        self._insert = _insert(self._database)
        self._connection: Connection | None = None
        self._pid, self._file = os.getpid(), (0, 0)
        self._is_closed = False
        self._lock, self._is_forking = threading.Lock(), False
        _open_stores.add(self)
        with self._told("open"):
            self._connected()

    def append(self, records: Sequence[Record], *, sync: bool) -> None:
        """Store records in one transaction; those that are stored already stay as they are.

        Raises:
            RecordError: none is stored; retryable unless the database refuses what they hold.
        """
        if self._is_closed:
            raise RecordError("the store is closed")
        rows = [row_of(record, has_nul=self._database.path is not None) for record in records]
        if not rows:
            return
        with self._lock, self._told("write to"):
            connection = self._connected()
            connection.info["is_batch"] = not sync
            with connection.begin():
                if self._database.path is None:
                    connection.execute(_SETTINGS, {"timeout": f"{STATEMENT_S}s", "is_batch": not sync})
                connection.execute(self._insert, rows)

    def close(self) -> None:
        """Close the connection; closing twice is harmless."""
        self._is_closed = True
        if self._connection is not None and self._pid == os.getpid():
            discard(self._connection)
        self._connection = None

    def begin_fork(self) -> None:
        """Close the connection before the process forks, once a batch that is on its way is stored: a child that
        inherits an open file of SQLite believes that it holds its parent's locks.
        """
        if self._database.path is not None and self._lock.acquire(timeout=2 * LOCK_S):
            self._is_forking = True
            self._drop()

    def end_fork(self) -> None:
        """Go on in the parent."""
        if self._is_forking:
            self._is_forking = False
            self._lock.release()

    def begin_child(self) -> None:
        """Go on in the child, where no thread is left that could give the lock back."""
        self._lock, self._is_forking = threading.Lock(), False

    def _connected(self) -> Connection:
        """Return a connection to the database as it is now."""
        if self._pid != os.getpid():
            _inherited.append(self._connection)
            self._engine.dispose(close=False)
            self._connection, self._pid = None, os.getpid()
        path = self._database.path
        if self._connection is not None and path and self._file != _identity(path):
            # moved away: what is written to it nobody would find, and its log may not become another file's
            with suppress(sqlite3.Error):
                run_to_end(self._connection, "wal_checkpoint(TRUNCATE)")
            self._drop()
        if self._connection is None:
            self._connection = self._engine.connect()
            migrate(self._connection)
            self._file = _identity(path) if path else self._file
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            discard(self._connection)
        self._connection = None

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Translate errors, and let go of a connection that had one."""
        try:
            with translated(f"cannot {what} the {self._database.name}"):
                yield
        except RecordError:
            self._drop()
            raise


def _insert(database: Database) -> Insert:
    """Return the statement that leaves alone what is stored already."""
    if database.path is not None:
        return sqlite.insert(DECISIONS).on_conflict_do_nothing(index_elements=["id"])
    return postgresql.insert(DECISIONS).on_conflict_do_nothing(index_elements=["id"])


def _identity(path: Path) -> tuple[int, int]:
    """Return what tells a file from others, wherever it lies; zeros where there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


_open_stores: "weakref.WeakSet[SqlStore]" = weakref.WeakSet()


def _each(what: Callable[[SqlStore], None]) -> Callable[[], None]:
    def call() -> None:
        for store in list(_open_stores):
            what(store)

    return call


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_each(SqlStore.begin_fork),
        after_in_parent=_each(SqlStore.end_fork),
        after_in_child=_each(SqlStore.begin_child),
    )

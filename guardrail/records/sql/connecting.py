"""Connections to SQLite and PostgreSQL: how they are opened, how long they wait, and what their errors mean."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote_to_bytes

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from guardrail.errors import MissingExtra, RecordError
from guardrail.sqlite_log import use_log

CONNECT_S = 5
"""Seconds that a server may take to answer a new connection. Our choice, as those below."""

LOCK_S = 5.0
"""Seconds that a call waits for another process to let go of a SQLite file."""

STATEMENT_S = 30
"""Seconds that a PostgreSQL server may take for a statement that writes."""

_PARAMETERS: dict[str, Any] = {
    "connect_timeout": CONNECT_S,
    "application_name": "guardrail",
    # a server that is gone without a word is noticed within seconds
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "prepare_threshold": None,  # poolers between us and the server may not know prepared statements
}
"""Of connections to PostgreSQL; those in the URL's query go before."""

_REFUSED = ("22", "23", "54")
"""Classes of SQLSTATE for values that will never be taken: data, constraint, limit of the program."""


@dataclass(frozen=True, slots=True)
class Database:
    """Where a database is.

    Attributes:
        url: with the driver that is used.
        path: of a SQLite file; None for a server.
    """

    url: URL
    path: Path | None

    @classmethod
    def of(cls, url: str) -> Self:
        """Return the database that a URL names.

        Raises:
            RecordError: it names none that can hold records.
        """
        hint = "write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        try:
            found = make_url(url)
        except (ArgumentError, ValueError):  # their messages show the URL, which may hold a password
            raise RecordError("the URL of the database cannot be read", hint=hint) from None
        if found.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
            return cls(found.set(drivername="postgresql+psycopg"), None)
        if found.drivername not in ("sqlite", "sqlite+pysqlite"):
            raise RecordError(f"records cannot be kept in {found.drivername[:40]!r}", hint=hint)
        if not found.database or found.database == ":memory:" or found.query or found.host:
            raise RecordError("records in SQLite need a plain file", hint="write sqlite:///FILE")
        return cls(found, _path(url))

    @property
    def name(self) -> str:
        """For messages: no password, no folder."""
        return f"database {self.path.name if self.path else self.url.database or self.url.username}"

    def writing(self) -> Engine:
        """Return an engine whose transactions may write; a SQLite file is made if there is none, for its owner only.

        Raises:
            MissingExtra: the driver is not installed.
        """
        if self.path is None:
            return self._server()
        engine = _sqlite(partial(_open_to_write, self.path))
        event.listen(engine, "begin", _begin)
        return engine

    def reading(self) -> Engine:
        """Return an engine that cannot write.

        Raises:
            MissingExtra: the driver is not installed.
            RecordError: there is no such file.
        """
        if self.path is None:
            return self._server().execution_options(postgresql_readonly=True)
        if not self.path.is_file():
            raise RecordError(f"there is no record file {self.path.name}")
        return _sqlite(partial(_open_to_read, self.path))

    def _server(self) -> Engine:
        parameters = {name: value for name, value in _PARAMETERS.items() if name not in self.url.query}
        try:
            return create_engine(self.url, connect_args=parameters, **_COMMON)
        except ModuleNotFoundError as error:
            raise MissingExtra("psycopg", "sql") from error


_COMMON: dict[str, Any] = {
    "poolclass": NullPool,  # each of us holds one connection
    "hide_parameters": True,  # they are what records hold
    "json_serializer": partial(json.dumps, ensure_ascii=False, allow_nan=False),
}


def _path(url: str) -> Path:
    """Return the file that a URL of SQLite names; SQLAlchemy itself decodes names since 2.1 only."""
    quoted = url.partition(":///")[2].partition("?")[0]
    return Path(os.fsdecode(unquote_to_bytes(quoted.encode("utf-8", "surrogateescape"))))


def _sqlite(creator: partial[sqlite3.Connection]) -> Engine:
    return create_engine("sqlite://", creator=creator, **_COMMON)


def _open_to_write(path: Path) -> sqlite3.Connection:
    """Open a file as a database with a write-ahead log: readers and a writer never wait for each other."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # its log gets the same mode
    except OSError as error:
        raise RecordError(f"cannot open {path.name}: {error.strerror}", retryable=True) from error
    connection = _connect(str(path))
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # holds for a file that is still empty
        use_log(connection, LOCK_S)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _open_to_read(path: Path) -> sqlite3.Connection:
    """Open a file so that nothing is written; one in a folder that is read-only has no log, and nobody changes it."""
    address = f"file:{quote(os.fsencode(path.absolute()))}"
    connection = _connect(f"{address}?mode=ro", uri=True)
    try:
        connection.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(f"{path.name}-wal").exists():
            raise
        connection = _connect(f"{address}?mode=ro&immutable=1", uri=True)
    connection.text_factory = _text
    return connection


def _text(stored: bytes) -> str | bytes:
    """Return a text, or what is none as it is: its row is damaged, and is not to end the reading of others."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def _connect(target: str, *, uri: bool = False) -> sqlite3.Connection:
    # transactions are begun by `_begin`, since sqlite3 itself begins none before a change of tables
    return sqlite3.connect(target, timeout=LOCK_S, isolation_level=None, check_same_thread=False, uri=uri)


def _begin(connection: Connection) -> None:
    """Begin a transaction that may write. The log is forced to the disk at its end if the connection is told so: then
    everything that was committed before is too.
    """
    level = "NORMAL" if connection.info.get("is_batch") else "FULL"
    connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the database's errors into RecordErrors. Theirs may show values, so they are not chained."""
    try:
        yield
    except SQLAlchemyError as error:
        raise RecordError(f"{what}: {_reason(error)}", retryable=not _is_refusal(error)) from None
    except sqlite3.Error as error:
        raise RecordError(f"{what}: {error}", retryable=True) from None
    except (OverflowError, UnicodeError) as error:  # sqlite3 raises them as they are
        raise RecordError(f"{what}: a value cannot be stored ({type(error).__name__})") from None


def run_to_end(connection: Connection, pragma: str) -> None:
    """Run to its end what SQLite takes outside of transactions only; `execute` would take its first step alone."""
    driver = connection.connection.driver_connection
    if driver is not None:
        driver.executescript(f"PRAGMA {pragma}")


def discard(connection: Connection) -> None:
    """Close a connection that may be broken, without a word to the other side."""
    with suppress(SQLAlchemyError, sqlite3.Error, OSError):
        connection.invalidate()
    with suppress(SQLAlchemyError, sqlite3.Error, OSError):
        connection.close()


def _is_refusal(error: SQLAlchemyError) -> bool:
    """Whether the same rows would be refused again."""
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        return isinstance(error, DataError | IntegrityError) or state[:2] in _REFUSED
    return isinstance(error, StatementError)  # a value that cannot even be sent


def _reason(error: SQLAlchemyError) -> str:
    """Return why, without values: SQLite's messages and those on connecting hold none, others may."""
    if not isinstance(error, DBAPIError):
        return type(error).__name__
    state = getattr(error.orig, "sqlstate", None)
    if isinstance(error.orig, sqlite3.Error) or (error.statement is None and not state):
        return str(error.orig).partition("\n")[0]
    return f"{type(error.orig).__name__} {state or ''}".rstrip()

"""Answers on disk, in front of every model: a run that was killed asks nothing twice that it had an answer to.

One SQLite file: found by what was asked, compressed, and written before an answer is used.
"""

import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from guardrail.errors import CallRefused, ConfigurationError, EngineError
from guardrail.sqlite_log import use_log
from guardrail.training.recipe.calls import Reply, Text

LOCK_S = 60
"""Seconds that other processes are waited for. Ours."""

REFUSED = "refused"
"""Kind of a failure that is an answer about the call: it is served, and the call is not asked again."""

_APPLICATION = 0x67724361
"""Marks the file as ours: "grCa"."""

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS replies (key BLOB NOT NULL UNIQUE, model TEXT NOT NULL, reply BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS replies_by_model ON replies (model);
CREATE TABLE IF NOT EXISTS failures (
    key BLOB NOT NULL, model TEXT NOT NULL, kind TEXT NOT NULL, status INTEGER NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (key, kind, status)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answered (identity TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;
"""
_FOREIGN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Cache(Protocol):
    """Keeps answers; the SQLite file itself, or what stands in front of it for other machines."""

    async def get(self, key: bytes) -> Reply | None:
        """Return the answer to a call; None if there is none yet.

        Raises:
            CallRefused: it was noted as `REFUSED`.
        """

    async def put(self, key: bytes, model: str, reply: Reply) -> Reply:
        """Keep an answer; it is safe from a kill once this returns the one that stands."""

    async def note_failure(self, key: bytes, model: str, kind: str, status: int) -> None:
        """Count a call that brought no answer; that is never served, unless its kind is `REFUSED`."""

    async def note_answered(self, identity: str) -> None:
        """Keep that a model has answered some call."""

    async def has_answered(self, identity: str) -> bool:
        """Return whether a model has ever answered a call."""


class CallCache:
    """Keeps answers in a SQLite file. Safe for many threads, event loops and processes of one machine, not over a fork,
    and not on a network drive.

    An answer that was put survives a kill of the process at any moment. A loss of power may lose the last ones, since
    the disk is not waited for; what is left is whole, and what was lost is asked for again.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, which is made if there is none.

        Raises:
            ConfigurationError: it is damaged, is no call cache, or cannot be opened.
        """
        self._path, self._lock = path, threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # answers may hold what is not for everybody
        except OSError as error:
            raise ConfigurationError(f"cannot open the call cache {path.name}: {error.strerror}") from error
        self._connection = sqlite3.connect(path, timeout=LOCK_S, isolation_level=None, check_same_thread=False)
        try:
            with self._speaking():
                self._prepare()
        except BaseException:
            self.close()
            raise

    async def get(self, key: bytes) -> Reply | None:
        """Return the answer to a call; None if there is none yet.

        Raises:
            CallRefused: it was noted as `REFUSED`, and there is no answer.
        """
        reply = self._find(key)
        if reply is not None:
            return reply
        with self._speaking() as connection:
            refused = connection.execute(
                "SELECT model, status FROM failures WHERE key = ? AND kind = ?", (key, REFUSED)
            ).fetchone()
        if refused:
            model, status = refused
            raise CallRefused(f"model {model!r} refused this call before{f', with {status}' if status else ''}")
        return None

    async def put(self, key: bytes, model: str, reply: Reply) -> Reply:
        """Return the answer that is kept from now on: the one that there is already, since it may have been used."""
        with self._speaking() as connection:
            values = (key, model, _pack(reply))
            is_first = connection.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?)", values).rowcount > 0
        return reply if is_first else self._find(key) or reply

    async def note_failure(self, key: bytes, model: str, kind: str, status: int) -> None:
        """Count a call that brought no answer.

        Args:
            key: of the call.
            model: its name in the recipe.
            kind: of the error: its class, or `REFUSED`.
            status: of HTTP; 0 when there was none.
        """
        with self._speaking() as connection:
            connection.execute(
                "INSERT INTO failures VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1",
                (key, model, kind, status),
            )

    async def note_answered(self, identity: str) -> None:
        """Keep that a model has answered some call.

        Args:
            identity: what it is known by: the model of a name may change.
        """
        with self._speaking() as connection:
            connection.execute("INSERT OR IGNORE INTO answered VALUES (?)", (identity,))

    async def has_answered(self, identity: str) -> bool:
        """Return whether a model has ever answered a call."""
        with self._speaking() as connection:
            return bool(connection.execute("SELECT 1 FROM answered WHERE identity = ?", (identity,)).fetchone())

    def counts(self) -> dict[str, int]:
        """Return the number of answers by model; those that came in parts count with each part."""
        with self._speaking() as connection:
            return dict(connection.execute("SELECT model, count(*) FROM replies GROUP BY model ORDER BY model"))

    def failures(self) -> dict[tuple[str, str, int], int]:
        """Return the number of failures by model, kind of error and HTTP status."""
        with self._speaking() as connection:
            rows = connection.execute(
                "SELECT model, kind, status, sum(n) FROM failures GROUP BY model, kind, status ORDER BY 1, 2, 3"
            )
            return {(model, kind, status): n for model, kind, status, n in rows}

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        with self._lock, suppress(sqlite3.Error):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _find(self, key: bytes) -> Reply | None:
        with self._speaking() as connection:
            row = connection.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        try:
            return _unpack(row[0]) if row else None
        except (zlib.error, ValueError, LookupError, TypeError) as error:
            raise self._damaged() from error

    def _prepare(self) -> None:
        """Make the tables in an empty file; refuse one of somebody else's."""
        connection = self._connection
        application, version = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        n_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if (application, version) != (_APPLICATION, _VERSION) and (application or version or n_tables):
            raise self._damaged()
        use_log(connection, LOCK_S)
        connection.execute("PRAGMA synchronous = NORMAL")
        script = f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION};"
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} {script} COMMIT;")

    @contextmanager
    def _speaking(self) -> Iterator[sqlite3.Connection]:
        """Have the connection alone, and translate its errors."""
        try:
            with self._lock:
                yield self._connection
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _FOREIGN:
                raise self._damaged() from error
            hint = "is the disk full, or the folder read-only?"
            raise EngineError(f"the call cache {self._path.name} failed: {error}", hint=hint) from error

    def _damaged(self) -> ConfigurationError:
        hint = "move it away to start with an empty one; then everything is asked again"
        return ConfigurationError(f"{self._path.name} is damaged, or is no call cache", hint=hint)


def _pack(reply: Reply) -> bytes:
    values = asdict(reply)
    return zlib.compress(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass"))


def _unpack(data: bytes) -> Reply:
    values = json.loads(zlib.decompress(data).decode(errors="surrogatepass"))
    return Reply(tuple(Text(**text) for text in values["texts"]), values["n_input"], values["n_output"])

"""Tables brought up to date when a store is opened, once, however many processes open it."""

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from guardrail.errors import RecordError
from guardrail.records.sql.tables import VERSION_TABLE

REVISIONS = ("0001", "0002")
"""All that this version knows, oldest first; a test compares them with the files."""

HEAD = REVISIONS[-1]

MIGRATION_S = 600
"""Seconds for a change of tables in PostgreSQL, or for another process to end its own. Our choice."""

_LOCK = 7_236_114_805_001
"""Of PostgreSQL's advisory locks, which are numbers: any that others hardly take."""

_one_thread = threading.Lock()
"""Alembic keeps what it is at in global variables."""


def migrate(connection: Connection) -> None:
    """Bring the database's tables up to date.

    Raises:
        RecordError: they are of a newer version.
    """
    with connection.begin():
        if revision(connection) == HEAD:
            return
    with _one_thread, connection.begin():  # in SQLite, other processes wait for this transaction
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL statement_timeout = '{MIGRATION_S}s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
        if revision(connection) != HEAD:
            command.upgrade(_config(connection), HEAD)


def upgrade(connection: Connection, to: str) -> None:
    """Bring the tables up to a revision, inside the transaction of the caller."""
    with _one_thread:
        command.upgrade(_config(connection), to)


def revision(connection: Connection) -> str | None:
    """Return the revision of the tables; None where there are none.

    Raises:
        RecordError: it is not known.
    """
    found = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    if found is not None and found not in REVISIONS:
        raise RecordError(
            f"the tables are of revision {found[:40]!r}; known: {', '.join(REVISIONS)}",
            hint="a newer guardrail-stream wrote them: use that one",
        )
    return found


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config

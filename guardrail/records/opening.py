"""A sink from where its records go: a file of JSON lines, or a database."""

import re
from pathlib import Path

from guardrail.records.jsonl import JsonlStore
from guardrail.records.privacy import Privacy
from guardrail.records.queueing import Queueing
from guardrail.records.reading import database_url, store_kind
from guardrail.records.sinks import StoredSink


def without_password(target: str) -> str:
    """Return a store's name as it may be shown."""
    target = re.sub(r"(://[^:/]*):.*@", r"\1:***@", target)  # names and passwords may hold an @ of their own
    return re.sub(r"(?i)\b(password|passfile|sslpassword)=[^&]*", r"\1=***", target)


def open_sink(
    target: str | Path,
    *,
    privacy: Privacy | None = None,
    queueing: Queueing | None = None,
    max_bytes: int | None = None,
    max_files: int | None = None,
) -> StoredSink:
    """Return a sink.

    Args:
        target: a file of JSON lines, a SQLite file (`.db`, `.sqlite`, `.sqlite3`), or a database's URL, such as
            postgresql://user@host/database.
        privacy: what records hold besides the decision.
        queueing: how records wait.
        max_bytes: size from which a new file of JSON lines is begun.
        max_files: rotated files of JSON lines that are kept.

    Raises:
        RecordError: it cannot be opened, or what it holds is of a newer version.
        MissingExtra: a database, without the extra `sql`.
    """
    if store_kind(target) == "sql":
        from guardrail.records.sql import SqlStore

        return StoredSink(SqlStore(database_url(target)), privacy=privacy, queueing=queueing, name="SQL")
    store = JsonlStore(target, max_bytes=max_bytes, max_files=max_files)
    return StoredSink(store, privacy=privacy, queueing=queueing)

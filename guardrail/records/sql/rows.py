"""Records as rows, and back. What a database cannot hold is changed as little as it takes: no record is lost for it."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from guardrail.records.reading import moment
from guardrail.records.record import Record
from guardrail.records.versions import read_record

MOST = 2**63 - 1
"""Largest integer of both databases."""

REPLACEMENT = "\ufffd"


def row_of(record: Record, *, has_nul: bool) -> dict[str, Any]:
    """Return a row: integers beyond 64 bits as the largest there is, lone surrogates as U+FFFD.

    Args:
        record: to store.
        has_nul: whether the database's text may hold NUL; in PostgreSQL's it becomes U+FFFD.

    Raises:
        RecordError: the record's time is none.
    """
    row: dict[str, Any] = _storable(record.model_dump(), has_nul=has_nul)
    row["time"] = moment(record.time)
    return row


def record_of(row: Mapping[str, Any]) -> Record:
    """Return the record of a row that any version wrote.

    Raises:
        RecordError: it holds none, or one of a version that is not known yet.
    """
    return read_record({**row, "time": row["time"].isoformat()})


def _storable(value: Any, *, has_nul: bool) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return _text(value, has_nul=has_nul)
    if isinstance(value, dict):
        return {_text(key, has_nul=has_nul): _storable(item, has_nul=has_nul) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item, has_nul=has_nul) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-MOST, min(value, MOST))
    return value


def _text(text: str, *, has_nul: bool) -> str:
    text = str(text)
    if not has_nul:
        text = text.replace("\x00", REPLACEMENT)
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

"""Records as rows, and back. What a database cannot hold is changed as little as it takes: no record is lost for it."""

import json
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import JSON

from guardrail.errors import RecordError
from guardrail.json_text import well_formed
from guardrail.records.reading import moment
from guardrail.records.record import Record
from guardrail.records.sql.tables import DECISIONS
from guardrail.records.versions import read_record

MOST = 2**63 - 1
"""Largest integer of both databases."""

_IN_JSON = tuple(column.name for column in DECISIONS.columns if isinstance(column.type, JSON))

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
    """Return the record of a row that any version wrote, with its values as the driver gives them.

    Raises:
        RecordError: it holds none, or one of a version that is not known yet.
    """
    values = dict(row)
    try:
        time = row["time"]
        values["time"] = (time if isinstance(time, datetime) else moment(time)).isoformat()
        values |= {name: json.loads(row[name]) for name in _IN_JSON if isinstance(row.get(name), str)}
    except (ValueError, TypeError, RecursionError, RecordError) as error:  # theirs may show what it holds
        raise RecordError(f"not a record: its time or its JSON cannot be read ({type(error).__name__})") from None
    return read_record(values)


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
    return well_formed(text)

"""What goes into a database, and what is there."""

from typing import Any

from guardrail.records import Record, read_records
from tests.records.made import decision


def made(**changes: Any) -> Record:
    """One record."""
    return Record.of(decision(**changes))


def ids(url: str) -> list[str]:
    """Of all that is stored."""
    return [record.id for record in read_records(url)]

"""Writes docs/record.schema.json, the JSON Schema of a record; a test holds it to the code."""

import json
from pathlib import Path

from guardrail.records import record_schema

TARGET = Path(__file__).resolve().parent.parent / "docs" / "record.schema.json"


def schema_text() -> str:
    """Return the schema as it is published."""
    return json.dumps(record_schema(), indent=2) + "\n"


if __name__ == "__main__":
    TARGET.write_text(schema_text(), "utf-8")

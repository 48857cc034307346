"""Labels of rows: harmless or harmful, as files of people's reviews name them."""

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from guardrail.errors import ConfigurationError

KEYS = ("id", "text_hmac", "conversation_id")
"""Columns of a file of labels by which it may name a row; the first that is there counts."""

LABEL_COLUMNS = ("label", "risk")

HARMLESS, HARMFUL = "safe", "unsafe"
_LABELS = {
    "safe": HARMLESS, "benign": HARMLESS, "harmless": HARMLESS, "0": HARMLESS, "false": HARMLESS,
    "unsafe": HARMFUL, "harmful": HARMFUL, "1": HARMFUL, "true": HARMFUL,
}  # fmt: skip

_MAX_LINE_CHARS = 1 << 26
Labels = Mapping[str, str]
"""Key of a row -> label."""


def read_labels(path: Path) -> dict[str, str]:
    """Return the labels of a CSV or JSONL file by the keys it names; rows of other labels are left out.

    Raises:
        ConfigurationError: it names no rows, or no labels that are known.
    """
    labels: dict[str, str] = {}
    for row in _table_rows(path):
        key = next((str(row[name]) for name in KEYS if row.get(name) not in (None, "")), None)
        label = next((known_label(row[name]) for name in LABEL_COLUMNS if row.get(name) is not None), None)
        if key is not None and label is not None:
            labels[key] = label
    if not labels:
        raise ConfigurationError(
            f"{path.name} holds no labels", hint=f"columns {', '.join(KEYS)} and label: safe or unsafe"
        )
    return labels


def known_label(value: Any) -> str | None:
    """Return which label a word is; None for others, such as controversial."""
    return _LABELS.get(str(value).strip().lower())


def _table_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file)
    else:
        yield from read_json_rows(path)


def read_json_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file of JSON lines; see `numbered_rows`."""
    for _, row in numbered_rows(path):
        yield row


def numbered_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file of JSON lines, gzipped or not, each with the number of its line, from 1.

    Raises:
        ConfigurationError: a line is none.
    """
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_CHARS), b""), 1):
            if line.isspace():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise ConfigurationError(f"{path.name}, line {number}: no JSON object")
            yield number, row


def holds_records(path: Path) -> bool:
    """Whether a file of JSON lines holds records, by its first line."""
    try:
        first = next(read_json_rows(path), {})
    except ConfigurationError:  # what reads records knows torn lines
        return True
    return "schema_version" in first

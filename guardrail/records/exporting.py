"""Records written for other programs: CSV, JSON lines or Parquet, by the name of the file."""

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from guardrail.errors import RecordError
from guardrail.records.record import Record
from guardrail.records.targets import whole

PACKED = ("positions", "tokens")
"""Fields that no cell holds: vectors of every position."""

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""With what a text begins that spreadsheets may take for a formula."""

CSV_FIELDS = tuple(name for name in Record.model_fields if name not in PACKED)


def export_records(records: Iterable[Record], target: Path, *, vectors: bool = False) -> int:
    """Write records into one file, which is there whole or not at all, for its owner only; return how many.

    CSV has a column for each field but the positions, lists and objects as JSON; texts that a spreadsheet would run as
    a formula get an apostrophe before them. JSON lines are what `read_records` reads. Parquet has a typed column for
    each field, with `vectors` also one list for each part of the positions.

    Args:
        records: in their order.
        target: `.csv`, `.jsonl` or `.parquet`; a file that exists is replaced.
        vectors: in Parquet, also what the model said at every position.

    Raises:
        RecordError: the kind of file is not known, or it cannot be written.
        MissingExtra: Parquet, without the extra `scan`.
    """
    write = _writer(target, vectors)
    with whole(target) as unfinished:
        return write(records, unfinished)


def _writer(target: Path, vectors: bool) -> Callable[[Iterable[Record], Path], int]:
    if target.suffix == ".parquet":
        from guardrail.records.parquet import write_parquet

        return lambda records, path: write_parquet(records, path, vectors=vectors)
    if vectors:
        raise RecordError("vectors need a Parquet file", hint="name it .parquet")
    if target.suffix == ".csv":
        return _write_csv
    if target.suffix == ".jsonl":
        return _write_lines
    raise RecordError(f"{target.suffix[:20] or 'a name without an end'!r} is no kind of file for records",
                      hint="name it .csv, .jsonl or .parquet")  # fmt: skip


def _write_lines(records: Iterable[Record], path: Path) -> int:
    n = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(record.to_json() + "\n")
            n += 1
    return n


def _write_csv(records: Iterable[Record], path: Path) -> int:
    n = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(CSV_FIELDS)
        for record in records:
            values = record.model_dump(mode="json", exclude=set(PACKED))
            table.writerow([_cell(values[name]) for name in CSV_FIELDS])
            n += 1
    return n


def _cell(value: Any) -> Any:
    """Return what stands in a cell; None leaves it empty."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value

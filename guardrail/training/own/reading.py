"""Reads a file of labelled rows, CSV, JSON lines or Parquet, and finds everything that is wrong with it at once."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from guardrail.errors import ConfigurationError
from guardrail.evaluation.rows import Row, parse_row, read_entries
from guardrail.taxonomy import RiskLevel
from guardrail.training.own.columns import COLUMNS, LABELS, TEXTS, check_category, rows_of
from guardrail.training.own.problems import BadRow, Problem

_TABLES = {".csv": None, ".tsv": "\t"}
_DELIMITERS = (",", ";", "\t")
_REST = "\0rest"
"""Key of the fields behind the last column."""

Entry = Mapping[str, Any] | BadRow

_Seen = dict[tuple[str, ...], tuple[int, tuple[RiskLevel, tuple[str, ...]]]]
"""Direction and texts, as far as they matter, to the line that held them first and its label."""


@dataclass(slots=True)
class Found:
    """What a file holds.

    Attributes:
        rows: those that can be used, in order.
        problems: what cannot, by line.
        notes: what was passed over, in words.
        n_repeats: rows that stood there before, left out.
    """

    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    n_repeats: int = 0


def read_file(path: Path) -> Found:
    """Return the rows of a file, and every problem of it.

    Raises:
        ConfigurationError: it cannot be read at all: no such file, no UTF-8, no header, a damaged archive.
    """
    found = Found()
    is_table = path.suffix.lower() in _TABLES
    entries = _table(path, found) if is_table else _objects(path)
    seen: _Seen = {}
    for line, entry in entries:
        try:
            if isinstance(entry, BadRow):
                raise entry
            is_schema = "messages" in entry and not is_table
            rows = _schema_row(entry) if is_schema else rows_of(entry, line, path.name)
            fresh = _first_of_its_text(rows, line, seen)
        except BadRow as bad:
            found.problems.append(bad.at(line))
            continue
        found.n_repeats += len(rows) - len(fresh)
        found.rows += fresh
    _check_ids(found)
    return found


def _first_of_its_text(rows: list[Row], line: int, seen: _Seen) -> list[Row]:
    """Return the rows of a line whose text was not met before, and take them down.

    Raises:
        BadRow: one of them was met under another label; none is taken down then.
    """
    fresh: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = (row.target.value, *(" ".join(m.content.casefold().split()) for m in row.messages))
        first, said = seen.get(key, (line, (row.risk, row.categories)))
        if said != (row.risk, row.categories):
            raise BadRow(f"says something else of the same text as line {first}", "keep the one that is right")
        if key not in seen:
            fresh[key] = row
    seen |= {key: (line, (row.risk, row.categories)) for key, row in fresh.items()}
    return list(fresh.values())


def _check_ids(found: Found) -> None:
    """Give ids of their own to rows that share one: results are told by them."""
    taken: set[str] = set()
    for number, row in enumerate(found.rows):
        id_ = row.id
        while id_ in taken:
            id_ = f"{id_}+"
        taken.add(id_)
        if id_ != row.id:
            found.rows[number] = replace(row, id=id_)


def _table(path: Path, found: Found) -> Iterator[tuple[int, Entry]]:
    """Yield the rows of a CSV file by column name, with the line on which each begins."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = _TABLES[path.suffix.lower()] or _delimiter(file.readline())
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter, restkey=_REST, strict=True)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            found.notes += _check_header(path, list(reader.fieldnames))
            line = reader.line_num + 1
            for values in reader:
                yield line, _whole(values)
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path.name} is not UTF-8", hint='save it as "CSV UTF-8"') from error
    except csv.Error as error:
        raise ConfigurationError(
            f"{path.name}, line {reader.line_num}: {error}",
            hint='a quote inside quotes is written twice: "", and each one that opens is closed',
        ) from error
    except OSError as error:
        raise ConfigurationError(f"cannot read {path.name}: {error.strerror or type(error).__name__}") from error


def _whole(values: Mapping[str, Any]) -> Entry:
    if _REST in values:
        return BadRow("has more fields than the header", 'put texts that hold commas in quotes: "..."')
    if None in values.values():
        return BadRow("has fewer fields than the header", "leave no field out; an empty one is two commas")
    return values


def _delimiter(header: str) -> str:
    """Return what separates the header's columns: a spreadsheet may have written semicolons or tabs."""
    return max(_DELIMITERS, key=header.count)


def _check_header(path: Path, names: list[str]) -> list[str]:
    """Return notes on columns that are not read.

    Raises:
        ConfigurationError: a needed column is missing, or stands twice.
    """
    twice = [name for name in names if name in COLUMNS and names.count(name) > 1]
    if twice:
        raise ConfigurationError(f"{path.name}: the column {twice[0]} stands there twice")
    if not set(TEXTS) & set(names) or not set(LABELS) & set(names):
        raise ConfigurationError(
            f"{path.name}: its first line must name a column text (or prompt, and response) and a column label",
            hint=f"it names {', '.join(names)[:200] or 'nothing'}",
        )
    others = [name for name in names if name and name not in COLUMNS]
    missing = [] if "category" in names else ["there is no column category: only risk levels are learned"]
    return [*([f"columns that are not read: {', '.join(others)}"] if others else []), *missing]


def _objects(path: Path) -> Iterator[tuple[int, Entry]]:
    for line, entry in read_entries(path):
        try:
            values = json.loads(entry) if isinstance(entry, bytes) else entry
        except ValueError:
            yield line, BadRow("is not JSON", "each line is one JSON object")
            continue
        is_row = isinstance(values, dict)
        yield line, values if is_row else BadRow("is no JSON object", "each line is one JSON object")


def _schema_row(values: Mapping[str, Any]) -> list[Row]:
    """Return the row of the data schema; one without a label is a problem here.

    Raises:
        BadRow: it does not follow the schema.
    """
    try:
        row = parse_row(values)
    except ValueError as error:
        raise BadRow(str(error), "rows of the data schema: see docs/fine_tune.md") from None
    if row is None:
        raise BadRow("has no label", "set risk to safe, controversial or unsafe")
    if not row.judged_text.strip():
        raise BadRow("has no text", "fill in the content of the last message")
    names = () if row.risk is RiskLevel.SAFE else row.categories
    return [replace(row, categories=tuple(dict.fromkeys(check_category(" ".join(name.split())) for name in names)))]


def to_line(row: Row) -> dict[str, Any]:
    """Return a row as a line of the data schema holds it."""
    return {
        "id": row.id, "source": row.source, "lang": row.lang,
        "messages": [{"role": m.role.value, "content": m.content} for m in row.messages],
        "target": row.target.value, "risk": row.risk.value.lower(), "category": list(row.categories),
        "refusal": row.refusal, "unsafe_start_char": row.unsafe_start_char, "meta": dict(row.meta),
    }  # fmt: skip

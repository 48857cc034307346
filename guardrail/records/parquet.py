"""Records as a Parquet file, typed; needs the extra `scan`. All contact with pyarrow is in this file."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from guardrail.errors import MissingExtra
from guardrail.records.positions import Positions
from guardrail.records.reading import time_of
from guardrail.records.record import Record

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise MissingExtra("pyarrow", "scan") from error

ROWS = 512
"""Records of a row group: with vectors, each may take a megabyte. Our choice."""

MOST = 2**63 - 1
"""Largest integer that is written; larger ones become this."""

_BY_NAME = pa.map_(pa.string(), pa.float64())
_BY_LABEL = pa.map_(pa.string(), pa.list_(pa.float32()))

_KINDS: dict[str, pa.DataType] = {
    "time": pa.timestamp("us", "UTC"),
    "latency_ms": pa.float64(),
    "is_scored": pa.bool_(),
    "refusal": pa.bool_(),
    "unreadable": pa.list_(pa.string()),
    "risk_probabilities": _BY_NAME,
    "category_probabilities": _BY_NAME,
    "failure": pa.struct({"kind": pa.string(), "message": pa.string()}),
}
"""Of fields that are neither texts nor integers."""

_INTEGERS = (
    "schema_version", "stop_offset", "released_chars", "withheld_chars", "leaked_chars", "unjudged_chars", "n_tokens",
    "n_windows", "n_dropped_turns", "n_deltas", "saved_tokens", "n_repairs", "n_repair_tokens",
)  # fmt: skip

_FIELDS = tuple(name for name in Record.model_fields if name not in ("positions", "tokens"))

_VECTORS: dict[str, pa.DataType] = {
    "position_start": pa.list_(pa.int64()),
    "position_end": pa.list_(pa.int64()),
    "position_is_complete": pa.list_(pa.bool_()),
    "position_is_whole": pa.list_(pa.bool_()),
    "position_is_scored": pa.list_(pa.bool_()),
    "position_risk": _BY_LABEL,
    "position_category": _BY_LABEL,
}
"""What `Positions` holds: a list for each part, one item a position; probabilities by their labels."""

_FLAGS = {"complete": 1, "whole": 2, "scored": 4}
"""Bits of `Positions.flags`."""


def write_parquet(records: Iterable[Record], path: Path, *, vectors: bool) -> int:
    """Write records, a row group at a time; return how many.

    Raises:
        OSError: the file cannot be written.
        RecordError: a record's positions are damaged.
    """
    schema = pa.schema([*((name, _kind(name)) for name in _FIELDS), *(_VECTORS.items() if vectors else ())])
    n, left = 0, iter(records)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while rows := [_row(record, vectors=vectors) for record in islice(left, ROWS)]:
            writer.write_table(pa.Table.from_pylist(rows, schema))
            n += len(rows)
    return n


def _kind(name: str) -> pa.DataType:
    return _KINDS.get(name, pa.int64() if name in _INTEGERS else pa.string())


def _row(record: Record, *, vectors: bool) -> dict[str, Any]:
    row = record.model_dump(mode="json", exclude={"positions", "tokens"})
    row["time"] = time_of(record)
    for name in _INTEGERS:
        if row[name] is not None:
            row[name] = max(-MOST, min(row[name], MOST))
    for name in ("risk_probabilities", "category_probabilities"):
        row[name] = list(row[name].items()) if row[name] is not None else None
    if vectors:
        row.update(_vectors(record))
    return row


def _vectors(record: Record) -> Iterator[tuple[str, Any]]:
    """Return the columns of the positions; none where nothing was judged, or the record keeps none."""
    if record.positions is None:
        return
    found = Positions.from_bytes(record.positions)
    yield "position_start", found.start.tolist()
    yield "position_end", found.end.tolist()
    for name, flag in _FLAGS.items():
        yield f"position_is_{name}", (found.flags & flag).astype(bool).tolist()
    for name, labels, vector in (
        ("risk", found.labels.risks, found.risk),
        ("category", found.labels.categories, found.category),
    ):
        yield (
            f"position_{name}",
            [(str(label), column.tolist()) for label, column in zip(labels, vector.T, strict=True)],
        )

"""Parquet files, read a batch at a time and written a row group a part; needs the extra `scan`."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from guardrail.decision import Identity
from guardrail.errors import ConfigurationError, MissingExtra
from guardrail.scanning.results import OF_DECISIONS
from guardrail.scanning.sources import Row

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise MissingExtra("pyarrow", "scan") from error

_BATCH_ROWS = 256
"""Rows that are decoded at once; our own choice, texts may be long."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Stands for rows in damaged data.

    Attributes:
        n_rows: how many.
        error: what is wrong with it.
    """

    n_rows: int
    error: str


_INTEGERS = (
    "row", "stop_offset", "released_chars", "withheld_chars", "n_tokens", "n_windows", "n_dropped_turns",
)  # fmt: skip


class ParquetSource:
    """A Parquet file."""

    suffix = ".parquet"

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            ConfigurationError: it is no Parquet file.
        """
        self.path = path
        try:
            self._file = pq.ParquetFile(path)
        except pa.ArrowException as error:
            raise ConfigurationError(f"{path.name} is no Parquet file ({type(error).__name__})") from error

    def names(self) -> list[str]:
        """Return the names of the top columns."""
        return list(self._file.schema_arrow.names)

    def count(self) -> int:
        """Return how many rows it has."""
        return int(self._file.metadata.num_rows)

    def rows(self, columns: list[str] | None = None) -> Iterator[Row]:
        """Yield all rows; those that lie in damaged data are unreadable, each of them."""
        numbers = count(1)
        for batch in self.batches(columns):
            if isinstance(batch, Lost):
                yield from (Row(next(numbers), None, batch.error) for _ in range(batch.n_rows))
            else:
                yield from (Row(next(numbers), values) for values in batch.to_pylist())

    def batches(self, columns: list[str] | None = None) -> "Iterator[pa.RecordBatch | Lost]":
        """Yield the rows as arrow has them. Damage costs the rest of its row group, not those behind it."""
        for group in range(self._file.num_row_groups):
            n_left = self._file.metadata.row_group(group).num_rows
            try:
                for batch in self._file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns):
                    n_left -= batch.num_rows
                    yield batch
            except (pa.ArrowException, OSError) as error:
                yield Lost(n_left, f"the Parquet data of row group {group} is damaged ({type(error).__name__})")

    @property
    def fields(self) -> pa.Schema:
        """Names and types of its columns."""
        return self._file.schema_arrow


def schema_of(labels: Sequence[Sequence[str]], inputs: pa.Schema | None) -> pa.Schema:
    """Return the schema of an output.

    Args:
        labels: names of risk levels, and of categories.
        inputs: of the input, where its columns are kept.
    """
    risks, categories = (pa.struct([(label, pa.float64()) for label in names]) for names in labels)
    types = dict.fromkeys(OF_DECISIONS, pa.string()) | dict.fromkeys(_INTEGERS, pa.int64())
    types |= {
        "risk_probabilities": risks,
        "category_probabilities": categories,
        "unreadable": pa.list_(pa.string()),
        "failure": pa.struct([("kind", pa.string()), ("message", pa.string())]),
    }
    names = ["row", "id", *OF_DECISIONS, "error", *(name for name in Identity.__dataclass_fields__)]
    fields = [pa.field(name, types.get(name, pa.string())) for name in names]
    return pa.schema([*fields, pa.field("input", pa.struct(list(inputs)))] if inputs is not None else fields)


def write_parquet(
    target: Path, parts: Iterable[Sequence[Mapping[str, Any]]], schema: pa.Schema, source: ParquetSource | None
) -> None:
    """Write results, a row group a part.

    Args:
        target: the file.
        parts: results in order.
        schema: of the file.
        source: the input, where its columns are kept.
    """
    kept = _Kept(source) if source else None
    with pq.ParquetWriter(target, schema) as writer:
        for part in parts:
            rows = [{**result, "id": _text(result["id"])} for result in part]
            verdicts = pa.Table.from_pylist(rows, schema=pa.schema([f for f in schema if f.name != "input"]))
            writer.write_table(kept.beside(verdicts, schema) if kept else verdicts)


class _Kept:
    """The rows of the input, taken as the results come."""

    def __init__(self, source: ParquetSource) -> None:
        self._batches = source.batches()
        self._type = pa.struct(list(source.fields))
        self._rest: list[pa.Array] = []

    def beside(self, verdicts: pa.Table, schema: pa.Schema) -> pa.Table:
        """Return results with the rows that they belong to; rows in damaged data are null."""
        while sum(map(len, self._rest)) < verdicts.num_rows:
            self._rest.append(self._next())
        rows = pa.chunked_array(self._rest, self._type)
        self._rest = rows.slice(verdicts.num_rows).chunks
        return verdicts.append_column(schema.field("input"), rows.slice(0, verdicts.num_rows))

    def _next(self) -> pa.Array:
        batch = next(self._batches)
        if isinstance(batch, Lost):
            return pa.nulls(batch.n_rows, self._type)
        return batch.to_struct_array().cast(self._type)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)

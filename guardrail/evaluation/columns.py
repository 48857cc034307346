"""Rows of the data schema from Parquet files, as `guardrail train mix` writes them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from guardrail.errors import ConfigurationError, MissingExtra

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise MissingExtra("pyarrow", "train") from error

_READ_ROWS = 512
"""Rows that are decoded at once. Our choice."""


def read_columns(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file as a line of JSON would hold them; `meta` may be JSON text there.

    Raises:
        ConfigurationError: the file cannot be read, or it is damaged.
    """
    try:
        yield from map(_as_in_json, read_values(path))
    except ValueError as error:  # of `meta`; the file's own are told already
        raise ConfigurationError(f"{path.name}: the Parquet data is damaged ({type(error).__name__})") from error


def read_values(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of any Parquet file by column.

    Raises:
        ConfigurationError: the file cannot be read, or it is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_READ_ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigurationError(f"{path.name}: the Parquet data is damaged ({type(error).__name__})") from error


def _as_in_json(values: dict[str, Any]) -> dict[str, Any]:
    meta = values.get("meta")
    return values | {
        "meta": json.loads(meta) if isinstance(meta, str) else meta or {},
        "category": values.get("category") or [],
    }

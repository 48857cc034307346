"""Rows of data sets: JSONL, gzipped or not, and Parquet. A row that cannot be read is a row all the same."""

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol, cast

from guardrail.errors import ConfigurationError

MAX_LINE_BYTES = 64 * 2**20
"""Longest line that is read as a row, so that a file without line ends fits into memory; our own choice."""

_LOOKED_AT = 100
"""Rows of a JSONL file whose keys count as its columns; our own choice."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file.

    Attributes:
        number: of its line in a JSONL file, blank ones counted, or of the row in a Parquet file; from 1.
        values: by column; None where it could not be read.
        error: why not; never its text.
    """

    number: int
    values: Mapping[str, Any] | None
    error: str = ""


class Source(Protocol):
    """A file of rows.

    Attributes:
        path: of the file.
        suffix: of its kind; the output gets the same.
    """

    path: Path
    suffix: str

    def names(self) -> list[str]:
        """Return the names of its columns."""
        ...

    def count(self) -> int:
        """Return how many rows it has."""
        ...

    def rows(self, columns: list[str] | None = None) -> Iterator[Row]:
        """Yield all rows, in order.

        Args:
            columns: those that are needed; None takes all.
        """
        ...


def open_source(path: Path) -> Source:
    """Return the source of a file, by its name.

    Raises:
        ConfigurationError: there is no such file, or its kind is unknown.
        MissingExtra: Parquet needs the extra `scan`.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such file")
    if path.suffix == ".parquet":
        from guardrail.scanning.parquet import ParquetSource

        return ParquetSource(path)
    for suffix in (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz"):
        if path.name.endswith(suffix):
            return JsonLines(path, suffix)
    raise ConfigurationError(f"{path.name}: unknown kind of file", hint="valid: .jsonl, .jsonl.gz, .parquet")


class JsonLines:
    """A file with one JSON object a line. Bytes that are no UTF-8 become U+FFFD, as everywhere in this package."""

    def __init__(self, path: Path, suffix: str) -> None:
        self.path, self.suffix = path, suffix

    def names(self) -> list[str]:
        """Return the keys of the first rows, in the order in which they appear."""
        found = (row.values for row in islice(self.rows(), _LOOKED_AT) if row.values is not None)
        return list(dict.fromkeys(name for values in found for name in values))

    def count(self) -> int:
        """Return how many lines are not blank; damaged data counts as one."""
        return sum(1 for _ in self._lines())

    def rows(self, columns: list[str] | None = None) -> Iterator[Row]:  # noqa: ARG002  # a line is parsed as a whole
        """Yield a row for each line that is not blank, and one for the rest of a file that is damaged."""
        for number, line in self._lines():
            if isinstance(line, bytes):
                yield _parse(number, line)
            else:
                yield Row(number, None, line.reason)

    def _lines(self) -> Iterator[tuple[int, "bytes | _Damage"]]:
        number = 0
        try:
            with self._opened() as file:
                for number, line in enumerate(_bounded(file), 1):  # the number outlives the loop
                    if line.strip():
                        yield number, line
        except (EOFError, zlib.error, gzip.BadGzipFile):
            yield number + 1, _Damage("the gzip data is damaged from here on")

    def _opened(self) -> IO[bytes]:
        if self.suffix.endswith(".gz"):
            return cast(IO[bytes], gzip.open(self.path, "rb"))
        return self.path.open("rb")


@dataclass(frozen=True, slots=True)
class _Damage:
    """Stands for the lines that are lost."""

    reason: str


def _bounded(file: IO[bytes]) -> Iterable[bytes]:
    """Yield lines; of one that is too long, as much as tells that it is."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        yield line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES + 1)


def _parse(number: int, line: bytes) -> Row:
    if len(line) > MAX_LINE_BYTES:
        return Row(number, None, f"the line is longer than {MAX_LINE_BYTES} bytes")
    text = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    try:
        values = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except json.JSONDecodeError as error:
        return Row(number, None, f"no JSON: {error.msg} at character {error.pos}")
    except (ValueError, RecursionError) as error:
        return Row(number, None, f"no JSON: {type(error).__name__}")
    if not isinstance(values, dict):
        return Row(number, None, f"{type(values).__name__} in place of an object")
    return Row(number, values)


def _finite(number: str) -> float:
    """Refuse NaN and infinity, `1e999` too: they are no JSON, and would make the output none."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value

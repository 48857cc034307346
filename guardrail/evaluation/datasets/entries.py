"""Entries of a published file: CSV, TSV, JSON, JSON lines or Parquet, plain or packed with gzip or xz.

What a file is shows in its first bytes; only CSV and TSV go by their name. Everything but a JSON array streams.
"""

import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from guardrail.errors import ConfigurationError

_PARQUET = b"PAR1"
_PACKED: dict[bytes, Callable[[Path, str], Any]] = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\x00": lzma.open}
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LONGEST_CELL = 1 << 26
"""Characters of the longest cell of a CSV file; the module's own limit is shorter than some answers. Our choice."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a file.

    Attributes:
        index: its position in the file, counted from 1, the same in every format.
        place: where people find it, such as "line 7"; a CSV entry may span lines, and its last one counts.
        raw: its columns as they were found, or a line of JSON that was not parsed yet.
    """

    index: int
    place: str
    raw: Any

    def values(self) -> Mapping[str, Any]:
        """Return its columns.

        Raises:
            ValueError: it is no JSON object; the message holds none of its text.
        """
        found = _parsed(self.raw) if isinstance(self.raw, bytes) else self.raw
        if not isinstance(found, dict):
            raise ValueError(f"expected a JSON object, got {type(found).__name__}")
        if None in found:
            raise ValueError("it has more cells than there are columns")
        return found


def read_entries(path: Path) -> Iterator[Entry]:
    """Yield the entries of a file in their order.

    Raises:
        ConfigurationError: the file cannot be read, or it is damaged.
        MissingExtra: it is a Parquet file, and what reads them is not installed.
    """
    index = 0
    try:
        if _first_bytes(path, len(_PARQUET)) == _PARQUET:
            from guardrail.evaluation.columns import read_values

            found: Iterable[tuple[str, Any]] = ((f"row {n}", row) for n, row in enumerate(read_values(path), 1))
        elif delimiter := _DELIMITERS.get(_kind(path)):
            found = _read_table(path, delimiter)
        else:
            found = _read_json(path)
        for index, (place, raw) in enumerate(found, 1):
            yield Entry(index, place, raw)
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise ConfigurationError(f"{path.name}: the packed data is damaged after entry {index}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path.name}: not UTF-8 after entry {index}") from error
    except OSError as error:
        raise ConfigurationError(f"{path.name}: {error.strerror or type(error).__name__}") from error


def _kind(path: Path) -> str:
    """Return the suffix of the content, such as ".csv" of "a.csv.gz"."""
    return (path.with_suffix("") if path.suffix in {".gz", ".xz"} else path).suffix.lower()


def _first_bytes(path: Path, n: int) -> bytes:
    with path.open("rb") as file:
        return file.read(n)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    head = _first_bytes(path, 6)
    unpack = next((opened for magic, opened in _PACKED.items() if head.startswith(magic)), None)
    with cast(IO[bytes], unpack(path, "rb") if unpack else path.open("rb")) as file:
        yield file


def _read_table(path: Path, delimiter: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    with _opened(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        table = csv.DictReader(text, delimiter=delimiter, strict=True)
        try:
            for values in table:
                yield f"line {table.line_num}", values  # cells too many stand under None, and one too few is None
        except csv.Error as error:
            raise ConfigurationError(f"{path.name}, line {table.reader.line_num}: no CSV ({error})") from error


def _read_json(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the lines of a file of JSON lines, the items of a JSON array, or the one object of a JSON file."""
    with _opened(path) as file:
        first = next((line for line in file if line.strip()), b"")
    if first.lstrip(b"\xef\xbb\xbf \t").startswith(b"["):
        yield from _read_array(path)
        return
    if first.strip() and not _is_json(first) and (whole := _read_object(path)) is not None:
        yield "row 1", whole
        return
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"line {number}", line.removeprefix(b"\xef\xbb\xbf")


def _read_array(path: Path) -> Iterator[tuple[str, Any]]:
    with _opened(path) as file:
        try:
            items = json.loads(file.read().removeprefix(b"\xef\xbb\xbf"))
        except json.JSONDecodeError as error:
            raise ConfigurationError(f"{path.name}, line {error.lineno}: no JSON array ({error.msg})") from None
        except RecursionError as error:
            raise ConfigurationError(f"{path.name}: no JSON array ({type(error).__name__})") from error
    for number, item in enumerate(items, 1):
        yield f"row {number}", item


def _read_object(path: Path) -> Mapping[str, Any] | None:
    """Return the object that the file is over several lines; None when it is none."""
    with _opened(path) as file:
        try:
            parsed = json.loads(file.read())
        except (ValueError, RecursionError):
            return None
    return parsed if isinstance(parsed, dict) else None


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return False
    return True


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at character {error.pos}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no JSON: {type(error).__name__}") from None

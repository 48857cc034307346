"""The sheet of translations that people check: written for spreadsheets, and read as spreadsheets save it."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guardrail.errors import ConfigurationError
from guardrail.whole_files import write_whole

COLUMNS = ("id", "lang", "source", "translation", "verdict", "comment")
VERDICTS = ("ok", "wrong meaning", "wrong language", "harm changed")
"""What people may write, in any case; "ok" alone keeps a row."""

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""With what a text begins that a spreadsheet may run as a formula."""

_SIGN = r"['\"]*[=+\-@\uff1d\uff0b\uff0d\uff20]"
_INSIDE = re.compile(rf"([;\t\r\n])(?={_SIGN})")
"""Behind what a formula may begin where a sheet is opened with another separator than its own."""

_MARKED = re.compile(rf"([;\t\r\n])'(?={_SIGN})")

_MOST_CHARS = 32_000
"""A cell of Excel holds 32,767 characters; what is longer is cut, and says so."""

_SEPARATORS = (",", ";", "\t")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """One translation in the sheet.

    Attributes:
        id: of the row.
        lang: its language.
        source: what was translated.
        translation: of it.
        verdict: one of `VERDICTS`; empty: nobody has looked yet.
        comment: of the person.
    """

    id: str
    lang: str
    source: str = ""
    translation: str = ""
    verdict: str = ""
    comment: str = ""


def write_sheet(path: Path, entries: Iterable[Entry]) -> None:
    """Write a sheet, whole or not at all."""
    write_whole(path, to_csv(entries))


def to_csv(entries: Iterable[Entry]) -> bytes:
    """Return a sheet: CSV in UTF-8, with the mark by which Excel knows that."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for one in entries:
        table.writerow(map(_cell, (one.id, one.lang, one.source, one.translation, one.verdict, one.comment)))
    return text.getvalue().encode("utf-8-sig")


def read_sheet(path: Path) -> list[Entry]:
    """Return a sheet's entries; see `parse_sheet`.

    Raises:
        ConfigurationError: it cannot be read, or as `parse_sheet`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path.name}: {error.strerror or type(error).__name__}") from error
    return parse_sheet(data, path.name)


def parse_sheet(data: bytes, name: str) -> list[Entry]:
    """Return the entries of a sheet; blank rows are passed over, a row that was copied counts once.

    Commas, semicolons or tabs may stand between cells; UTF-8, UTF-16 and Western Windows files are read, with columns
    in any order.

    Raises:
        ConfigurationError: it is no such sheet, or a row (named by its number) has an unknown verdict, or one that
            contradicts another row of the same translation.
    """
    rows = _rows(data, name)
    heads = [head.strip().lower() for head in next(rows, [])]
    if missing := [column for column in ("id", "lang", "verdict") if column not in heads]:
        raise ConfigurationError(
            f"{name} lacks the column {missing[0]}",
            hint="open the sheet as comma-separated UTF-8, and save it as CSV with its first row",
        )
    entries: dict[str, Entry] = {}
    unknown, conflicts = [], []
    for number, cells in enumerate(rows, 2):
        entry = _entry(dict(zip(heads, cells, strict=False)))
        if not entry.id.strip():
            continue
        if entry.verdict not in ("", *VERDICTS):
            unknown.append(number)
        before = entries.setdefault(entry.id, entry)
        if before.verdict and entry.verdict not in ("", before.verdict):
            conflicts.append(number)
        elif not before.verdict:
            entries[entry.id] = entry
    _refuse(name, unknown, f"no verdict that is known; use {', '.join(VERDICTS)} or none")
    _refuse(name, conflicts, "a verdict that contradicts an earlier row of the same id")
    return list(entries.values())


def _entry(cells: Mapping[str, str]) -> Entry:
    values = {column: _plain(cells.get(column, "")) for column in COLUMNS}
    return Entry(**values | {"verdict": _verdict(values["verdict"])})


def _refuse(name: str, numbers: Sequence[int], what: str) -> None:
    if numbers:
        more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
        raise ConfigurationError(f"{name}: rows with {what}: {', '.join(map(str, numbers[:_SHOWN]))}{more}")


def _verdict(cell: str) -> str:
    """Return a verdict as we write it, however it was typed."""
    return " ".join(cell.replace("_", " ").replace("-", " ").replace("\u00a0", " ").strip(" .'").lower().split())


def _rows(data: bytes, name: str) -> Iterator[list[str]]:
    text = _text(data)
    if text[:4].lower() == "sep=":  # a line of Excel's that names the separator
        text = text.partition("\n")[2]
    separator = max(_SEPARATORS, key=text.partition("\n")[0].count)
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    except csv.Error as error:
        raise ConfigurationError(f"{name} is no table: {error}") from error


def _text(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def is_same(sheets: str, text: str) -> bool:
    """Whether a text of a sheet that was read back is this one, but for spacing, length and what a file of Western
    Windows cannot hold.
    """
    there, here = (" ".join(one.split()) for one in (sheets, _held(text)))
    return there in (here, here.encode("cp1252", errors="replace").decode("cp1252"))


def _held(text: str) -> str:
    """Return as much of a text as a cell holds."""
    text = text.encode("utf-8", errors="replace").decode()
    return f"{text[:_MOST_CHARS]} [cut]" if len(text) > _MOST_CHARS else text


def _cell(text: str) -> str:
    """Return what stands in a cell; apostrophes keep formulas from being any."""
    text = _INSIDE.sub(r"\1'", _held(text))
    return f"'{text}" if text.startswith((*_FORMULAS, "'")) else text


def _plain(cell: str) -> str:
    """Return what `_cell` was given."""
    cell = cell[1:] if cell.startswith("'") and cell[1:].startswith((*_FORMULAS, "'")) else cell
    return _MARKED.sub(r"\1", cell)

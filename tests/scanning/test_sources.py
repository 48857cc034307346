"""Rows of JSONL files, whatever stands in them."""

import gzip
from pathlib import Path

import pytest

from guardrail import ConfigurationError
from guardrail.scanning import sources
from guardrail.scanning.sources import JsonLines, open_source
from tests.scanning.files import write_jsonl


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.ndjson"])
def test_rows_are_numbered_by_their_lines(tmp_path: Path, name: str) -> None:
    """Blank lines are no rows, and count as lines."""
    source = open_source(write_jsonl(tmp_path / name, [{"a": 1}, b"", b"  ", {"a": 2, "b": 3}]))
    assert [(row.number, row.values) for row in source.rows()] == [(1, {"a": 1}), (4, {"a": 2, "b": 3})]
    assert source.count() == 2
    assert source.names() == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{secret", "no JSON: Expecting property name"),
        (b'"secret"', "str in place of an object"),
        (b'{"a": NaN}', "no JSON: ValueError"),
        (b'{"a": 1e999}', "no JSON: ValueError"),
        (b'{"a": ' + b"1" * 5000 + b"}", "no JSON: ValueError"),
        (b'{"a": ' + b"[" * 100_000, "no JSON: RecursionError"),
    ],
    ids=["cut", "text", "nan", "infinite", "digits", "deep"],
)
def test_a_line_that_is_no_row_is_a_row_with_an_error(tmp_path: Path, line: bytes, said: str) -> None:
    """It is counted, its number is right, and its text is nowhere."""
    source = open_source(write_jsonl(tmp_path / "x.jsonl", [{"a": 1}, line, {"a": 2}]))
    first, bad, last = source.rows()
    assert (first.number, bad.number, last.number) == (1, 2, 3)
    assert bad.values is None
    assert bad.error.startswith(said)
    assert "secret" not in bad.error


def test_a_line_that_is_too_long_is_skipped_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without line ends does not fill the memory; the next line is read as ever."""
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 10)
    source = open_source(write_jsonl(tmp_path / "x.jsonl", [{"a": 1}, b"x" * 35, {"a": 2}]))
    assert [row.error for row in source.rows()] == ["", "the line is longer than 10 bytes", ""]


@pytest.mark.parametrize("cut", [5, 12])
def test_damaged_gzip_data_is_one_unreadable_row(tmp_path: Path, cut: int) -> None:
    """What came before is read; the rest cannot even be counted, and is not forgotten."""
    path = tmp_path / "x.jsonl.gz"
    data = gzip.compress(b'{"a": 1}\n' * 5000, mtime=0)
    path.write_bytes(data[: len(data) - cut])
    *good, bad = open_source(path).rows()
    assert len(good) == bad.number - 1 > 0
    assert "damaged" in bad.error


def test_bytes_that_are_no_utf8_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    """As everywhere in this package: U+FFFD."""
    (row,) = open_source(write_jsonl(tmp_path / "x.jsonl", [b'\xef\xbb\xbf{"a": "\xff"}'])).rows()
    assert row.values == {"a": "�"}


def test_files_of_unknown_kind_are_refused(tmp_path: Path) -> None:
    """By name, before anything is judged."""
    (tmp_path / "x.csv").write_text("a")
    with pytest.raises(ConfigurationError, match="unknown kind"):
        open_source(tmp_path / "x.csv")
    with pytest.raises(ConfigurationError, match="no such file"):
        open_source(tmp_path / "y.jsonl")


def test_lines_are_split_at_line_feeds_alone(tmp_path: Path) -> None:
    """Other separators of Unicode are text."""
    source = JsonLines(tmp_path / "x.jsonl", ".jsonl")
    source.path.write_bytes('{"a": "one\u2028two\x85"}\n'.encode())
    assert [row.values for row in source.rows()] == [{"a": "one\u2028two\x85"}]

"""Entries of published files: every format gives the same, and what is broken is told by its place."""

import json
from pathlib import Path

import pytest

from guardrail.errors import ConfigurationError
from guardrail.evaluation.datasets.categories import OPENAI_MODERATION
from guardrail.evaluation.datasets.entries import read_entries
from tests.evaluation.datasets.published import OPENAI, TOXICCHAT, write


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.xz", "a.json", "a.json.gz", "a.parquet"])
def test_every_format_gives_the_same_entries(tmp_path: Path, name: str) -> None:
    """Their positions too, from which ids are made."""
    rows = [{**dict.fromkeys(OPENAI_MODERATION), **row} for row in OPENAI]
    entries = list(read_entries(write(tmp_path / name, rows)))
    assert [dict(entry.values()) for entry in entries] == rows
    assert [entry.index for entry in entries] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.tsv.xz"])
def test_tables_keep_cells_with_breaks_and_quotes(tmp_path: Path, name: str) -> None:
    """A cell may span lines; the place is the last of them."""
    entries = list(read_entries(write(tmp_path / name, TOXICCHAT)))
    assert [dict(entry.values()) for entry in entries] == TOXICCHAT
    assert [entry.place for entry in entries][:3] == ["line 2", "line 4", "line 5"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    """Spreadsheets write one."""
    for name, text in (
        ("a.csv", "prompt\nhello\n"),
        ("a.jsonl", '{"prompt": "hello"}\n'),
        ("a.json", '[{"prompt": "hello"}]'),
    ):
        (tmp_path / name).write_text(text, "utf-8-sig")
        assert [dict(entry.values()) for entry in read_entries(tmp_path / name)] == [{"prompt": "hello"}]


def test_one_object_over_many_lines_is_one_entry(tmp_path: Path) -> None:
    """Written on one line, it is one as well."""
    value = {"b0": [{"a": 1}], "b1": []}
    for indent in (None, 2):
        path = tmp_path / "a.json"
        path.write_text(json.dumps(value, indent=indent))
        assert [dict(entry.values()) for entry in read_entries(path)] == [value]


def test_long_cells_are_read(tmp_path: Path) -> None:
    """The module's own limit is 131,072 characters."""
    row = {"prompt": "a" * 200_000}
    assert [dict(entry.values()) for entry in read_entries(write(tmp_path / "a.csv", [row]))] == [row]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.jsonl.gz", b"\x1f\x8bnot gzip", "damaged"),
        ("a.jsonl.xz", b"\xfd7zXZ\x00broken", "damaged"),
        ("a.parquet", b"PAR1 and no more", "Parquet"),
        ("a.csv", b'a,b\n1,"2\n', "line 2: no CSV"),
        ("a.csv", b"a,b\n1,\xff\n", "not UTF-8"),
        ("a.json", b'[{"a": 1},\n{]', "line 2: no JSON array"),
    ],
)
def test_damaged_files_are_clear_errors(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    """None is a traceback of a library."""
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match=says):
        list(read_entries(path))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.jsonl", '{"a": 1}\n{secret\n', "no JSON"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "got list"),
        ("a.csv", "a,b\n1,2\n1,2,secret\n", "more cells"),
        ("a.json", '[{"a": 1}, "secret"]', "got str"),
    ],
)
def test_an_entry_that_is_none_is_told_without_its_text(tmp_path: Path, name: str, text: str, says: str) -> None:
    """The entry before it is read, and so is what comes after."""
    path = tmp_path / name
    path.write_text(text)
    good, bad = read_entries(path)
    assert good.values()
    with pytest.raises(ValueError, match=says) as caught:
        bad.values()
    assert "secret" not in str(caught.value)

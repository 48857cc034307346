"""Parquet in, Parquet out: the same verdicts as for lines of JSON, and the input's types as they were."""

import datetime as dt
from pathlib import Path

import pytest

from guardrail import ConfigurationError
from guardrail.scanning.columns import Columns
from guardrail.scanning.sources import open_source
from tests.scanning.files import read_jsonl, scanned, write_jsonl

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

MESSAGES = [
    [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "well ☠ then"}],
    [{"role": "user", "content": "a ☢ question"}],
    None,
    [{"role": "user", "content": "bye"}],
]
ROWS = [{"id": i, "messages": turns} for i, turns in enumerate(MESSAGES)]


def test_verdicts_are_those_of_lines_of_json(tmp_path: Path) -> None:
    """Column by column."""
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "x.parquet", row_group_size=3)
    scanned([tmp_path / "x.parquet", write_jsonl(tmp_path / "x.jsonl", ROWS)], tmp_path / "out", part_rows=3)
    lines = read_jsonl(tmp_path / "out" / "x.jsonl")
    table = pq.read_table(tmp_path / "out" / "x.parquet")
    rows = table.to_pylist()
    assert table.column_names == list(lines[0])
    assert [row["action"] for row in rows] == ["stop", "flag", "stop", "allow"]
    assert [row["id"] for row in rows] == ["0", "1", "2", "3"]
    for row, line in zip(rows, lines, strict=True):
        for name in ("risk_probabilities", "category_probabilities"):  # answers know no Jailbreak: null in a table
            assert {k: v for k, v in (row.pop(name) or {}).items() if v is not None} == (line.pop(name) or {})
        assert row | {"id": 0} == line | {"id": 0}


def test_kept_columns_have_the_types_of_the_input(tmp_path: Path) -> None:
    """Times, bytes and numbers that JSON does not know, in parts of any size beside row groups of any size."""
    when = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    rows = [{"prompt": f"p{i}", "when": when, "raw": b"\x00\xff", "n": 2**60 + i, "tags": ["a"]} for i in range(700)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=90)
    scanned([tmp_path / "x.parquet"], tmp_path / "out", part_rows=64, keep_columns=True, limit=650)
    table = pq.read_table(tmp_path / "out" / "x.parquet")
    assert table["input"].to_pylist() == rows[:650]
    assert table["row"].to_pylist() == list(range(1, 651))
    assert table.schema.field("input").type.field("when").type == pa.timestamp("us", "UTC")


def test_only_the_columns_that_are_judged_are_read(tmp_path: Path) -> None:
    """Images beside the text cost nothing."""
    pq.write_table(pa.table({"prompt": ["a"], "image": [b"x" * 100], "id": ["one"]}), tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet")
    columns = Columns().among(source.names())
    assert [row.values for row in source.rows(columns.used)] == [{"id": "one", "prompt": "a"}]


def test_rows_in_damaged_data_are_unreadable_each_of_them(tmp_path: Path) -> None:
    """The file says how many there are, so none is lost; the row groups before and behind are judged."""
    path = tmp_path / "x.parquet"
    texts = [f"text {i} {'abcdefgh'[i % 8] * 50}" for i in range(600)]
    pq.write_table(pa.table({"prompt": texts}), path, row_group_size=200, compression="zstd", use_dictionary=False)
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + 60 : chunk.data_page_offset + 140] = bytes(80)
    path.write_bytes(data)
    (report,) = scanned([path], tmp_path / "out", keep_columns=True)
    rows = pq.read_table(tmp_path / "out" / "x.parquet").to_pylist()
    assert report.tally.actions == {"allow": 400, "unreadable": 200}
    assert [row["input"] for row in rows[:200] + rows[400:]] == [{"prompt": text} for text in texts[:200] + texts[400:]]
    assert {(row["action"], row["input"]) for row in rows[200:400]} == {("stop", None)}
    assert "row group 1 is damaged" in rows[200]["error"]


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    """By name, before anything is judged."""
    (tmp_path / "x.parquet").write_bytes(b"no such thing")
    with pytest.raises(ConfigurationError, match=r"x\.parquet is no Parquet file"):
        open_source(tmp_path / "x.parquet")

"""Records written for other programs."""

import csv
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.decision import Decision, Direction
from guardrail.errors import RecordError
from guardrail.records import Positions, Privacy, Record, read_records
from guardrail.records.exporting import CSV_FIELDS, export_records
from guardrail.verdict import TokenVerdict
from tests.records.generated import decisions
from tests.records.made import SAFE, UNSAFE, decision

FULL = Privacy("full", hash_key=b"k" * 16)  # type: ignore[arg-type]  # names of forms are taken too


def answered() -> Decision:
    """An answer of three tokens, the last of them risky."""
    tokens = tuple(TokenVerdict(verdict, i, 2 * i, 2 * i + 2) for i, verdict in enumerate([SAFE, SAFE, UNSAFE]))
    return decision(direction=Direction.RESPONSE, tokens=tokens, readings=(), is_stop=True)


@settings(max_examples=25)
@given(st.lists(decisions, max_size=4))
def test_json_lines_are_read_back(tmp_path_factory: pytest.TempPathFactory, made: list[Decision]) -> None:
    """As all commands read them, positions and all."""
    records = [Record.of(one, "the text\nof it", FULL) for one in made]
    path = tmp_path_factory.mktemp("out") / "out.jsonl"
    assert export_records(records, path) == len(records)
    assert list(read_records(path)) == records


@settings(max_examples=25)
@given(st.lists(decisions, max_size=4))
def test_every_record_fits_every_kind(tmp_path_factory: pytest.TempPathFactory, made: list[Decision]) -> None:
    """Odd texts, huge numbers, labels of any kind; ids in the same order."""
    records, folder = [Record.of(one, "x", FULL) for one in made], tmp_path_factory.mktemp("out")
    export_records(records, folder / "out.csv")
    with (folder / "out.csv").open(encoding="utf-8", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [record.id for record in records]
    export_records(records, folder / "out.parquet", vectors=True)
    table = pq.read_table(folder / "out.parquet").to_pylist()
    assert [row["id"] for row in table] == [record.id for record in records]
    assert [row["model"] for row in table] == [record.model for record in records]


def test_csv_has_a_column_for_each_field(tmp_path: Path) -> None:
    """But positions; empty where there is none, lists and objects as JSON."""
    record, path = Record.of(answered(), 'a "text",\nwith lines ☠', FULL), tmp_path / "out.csv"
    export_records([record], path)
    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == CSV_FIELDS
    assert {*Record.model_fields} - {*CSV_FIELDS} == {"positions", "tokens"}
    assert (row["text"], row["time"], row["stop_offset"]) == (record.text, record.time, "0")
    assert (row["conversation_id"], row["failure"], row["is_scored"]) == ("", "", "true")
    assert json.loads(row["risk_probabilities"]) == record.risk_probabilities
    assert json.loads(row["unreadable"]) == []


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_holds_no_formula(tmp_path: Path, text: str) -> None:
    """What a spreadsheet would run begins with an apostrophe; nothing else is changed."""
    path = tmp_path / "out.csv"
    export_records([Record.of(decision(conversation_id=text, tenant=f"a{text}"), text, FULL)], path)
    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["conversation_id"], row["text"], row["tenant"]) == (f"'{text}", f"'{text}", f"a{text}")


def test_parquet_is_typed(tmp_path: Path) -> None:
    """Times as times, numbers as numbers, probabilities by their labels, failures as objects."""
    record, path = Record.of(answered(), "x", FULL), tmp_path / "out.parquet"
    assert export_records([record], path) == 1
    (row,) = pq.read_table(path).to_pylist()
    assert set(row) == {*Record.model_fields} - {"positions", "tokens"}
    assert row["time"] == datetime.fromisoformat(record.time)
    assert (row["released_chars"], row["latency_ms"], row["is_scored"]) == (0, 1.5, True)
    assert dict(row["risk_probabilities"]) == record.risk_probabilities
    assert (row["failure"], row["unreadable"], row["text"]) == (None, [], "x")


def test_a_time_that_cannot_be_read_is_none_in_parquet(tmp_path: Path) -> None:
    """It costs no record; CSV and JSON lines keep it as it is."""
    record, path = Record.of(decision()).model_copy(update={"time": "yesterday"}), tmp_path / "out.parquet"
    assert export_records([record, Record.of(decision())], path) == 2
    assert [row["time"] is None for row in pq.read_table(path).to_pylist()] == [True, False]


def test_vectors_are_every_position(tmp_path: Path) -> None:
    """Of answers and of prompts; none where a record keeps none."""
    made = [Record.of(answered(), "", FULL), Record.of(decision(), "", FULL), Record.of(decision())]
    path = tmp_path / "out.parquet"
    export_records(made, path, vectors=True)
    rows = pq.read_table(path).to_pylist()
    for record, row in zip(made[:2], rows, strict=False):
        positions = Positions.from_bytes(record.positions or b"")
        assert row["position_start"] == positions.start.tolist()
        assert row["position_end"] == positions.end.tolist()
        for name, labels, vector in (
            ("risk", positions.labels.risks, positions.risk),
            ("category", positions.labels.categories, positions.category),
        ):
            assert dict(row[f"position_{name}"]) == {label: vector[:, i].tolist() for i, label in enumerate(labels)}
        assert all(row["position_is_scored"])
    assert rows[0]["position_is_complete"] == [True] * 3
    assert (rows[0]["position_is_whole"], rows[1]["position_is_whole"]) == ([False] * 3, [True])
    assert all(value is None for name, value in rows[2].items() if name.startswith("position_"))


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path, name: str) -> None:
    """What was there before stays until then; afterwards only its owner reads it."""
    path = tmp_path / name
    path.write_text("before")

    def failing() -> Iterator[Record]:
        yield Record.of(decision())
        raise RecordError("the store is gone")

    with pytest.raises(RecordError, match="the store is gone"):
        export_records(failing(), path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    assert export_records([], path) == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "vectors", "told"),
    [("out", False, "name it .csv"), ("out.xlsx", False, "name it .csv"), ("out.csv", True, "name it .parquet"),
     ("no/such/out.csv", False, "cannot write out.csv: No such file")],
)  # fmt: skip
def test_what_cannot_be_written_is_said(tmp_path: Path, name: str, vectors: bool, told: str) -> None:
    """Before anything is read, or made."""
    with pytest.raises(RecordError, match=told):
        export_records([], tmp_path / name, vectors=vectors)
    assert list(tmp_path.iterdir()) == []

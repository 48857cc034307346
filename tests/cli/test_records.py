"""`guardrail records` as users run it: counted, exported, pruned; options, output and exit codes.

No fixture of conftest.py is used, since these tests also run against the installed wheel.
"""

import csv
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guardrail.cli.exits import Exit
from guardrail.cli.main import run
from guardrail.guard import Guard
from guardrail.records import JsonlSink, JsonlStore, Record, read_records
from guardrail.testing import MarkerEngine, default_tokenizer

NOW = datetime.now(UTC)
DAYS = (100, 50, 10, 1)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """One a day of these, in days before now."""
    path, tokenizer = tmp_path_factory.mktemp("made") / "made.jsonl", default_tokenizer()
    with JsonlSink(path) as sink:
        guard = Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer, sinks=[sink])
        for day in DAYS:
            guard.check_prompt("kill ☠", conversation_id="=1+1", tenant="shop" if day == 1 else None)
    times = [(NOW - timedelta(days=day)).isoformat() for day in DAYS]
    return [r.model_copy(update={"time": at}) for r, at in zip(read_records(path), times, strict=True)]


@pytest.fixture
def store(records: list[Record], tmp_path: Path) -> Path:
    """A file of them, the two oldest in a rotated one."""
    path = tmp_path / "decisions.jsonl"
    for part in (records[:2], records[2:]):
        opened = JsonlStore(path, max_bytes=1)
        opened.append(part, sync=False)
        opened.close()
    return path


def days(store: Path) -> list[int]:
    """How long ago the records of a store were made."""
    return [(NOW - datetime.fromisoformat(record.time)).days for record in read_records(store)]


def test_count_says_how_many_and_from_when(
    store: Path, records: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of all, of a span, of a tenant; for people and as JSON."""
    assert run(["records", "count", str(store)]) == Exit.OK
    assert f"records    4\nfirst      {records[0].time}\nlast       {records[3].time}\n" in capsys.readouterr().out
    since = (NOW - timedelta(days=60)).isoformat()
    for option, value, n in (("--since", since, 3), ("--until", since, 1), ("--tenant", "shop", 1)):
        assert run(["records", "count", str(store), "--json", option, value]) == Exit.OK
        assert json.loads(capsys.readouterr().out)["records"] == n


def test_lines_that_are_none_are_told(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 1, and what is wrong with the first; the others are counted, or exported."""
    with store.open("a") as file:
        file.write("torn\n[]\n")
    assert run(["records", "count", str(store), "--json"]) == Exit.FAILED
    told = capsys.readouterr()
    assert json.loads(told.out) == {**json.loads(told.out), "records": 4, "unreadable": 2}
    assert "2 could not be read, the first: decisions.jsonl, line 3: no JSON" in told.err
    assert run(["records", "export", str(store), "--to", str(store.with_name("out.csv"))]) == Exit.FAILED
    assert len(store.with_name("out.csv").read_text("utf-8").splitlines()) == 5


def test_export_writes_what_was_asked_for(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A span, into the kind of file that the name says."""
    out, since = store.with_name("out.csv"), (NOW - timedelta(days=60)).isoformat()
    assert run(["records", "export", str(store), "--to", str(out), "--since", since]) == Exit.OK
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["conversation_id"] for row in rows] == ["'=1+1"] * 3
    again = store.with_name("out.jsonl")
    assert run(["records", "export", str(store), "--to", str(again), "--tenant", "shop"]) == Exit.OK
    assert days(again) == [1]
    told = capsys.readouterr()
    assert (told.out, "1 records in" in told.err) == ("", True)


def test_prune_deletes_what_is_old(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By age or by date; a dry run first."""
    assert run(["records", "prune", str(store), "--older-than", "60d", "--dry-run"]) == Exit.OK
    assert capsys.readouterr().out.startswith("1 records would go (before ")
    assert days(store) == list(DAYS)
    assert run(["records", "prune", str(store), "--older-than", "60d"]) == Exit.OK
    assert days(store) == [50, 10, 1]
    before = (NOW - timedelta(days=2)).isoformat()
    assert run(["records", "prune", str(store), "--before", before, "--json"]) == Exit.OK
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["records"], told["unreadable"], told["dry_run"]) == (2, 0, False)
    assert told["bytes"] > 0
    assert days(store) == [1]
    assert run(["records", "prune", str(store), "--older-than", "0h", "--tenant", "bank"]) == Exit.OK
    assert days(store) == [1]


def test_a_time_that_is_none_ends_no_count(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The record is counted, and said to have no time."""
    line = json.loads(store.read_text("utf-8").splitlines()[0])
    with store.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, "time": "yesterday"}) + "\n")
    assert run(["records", "count", str(store), "--json"]) == Exit.OK
    told = json.loads(capsys.readouterr().out)
    assert (told["records"], told["timeless"], told["unreadable"]) == (5, 1, 0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["prune", "STORE"], "either --older-than or --before"),
        (["prune", "STORE", "--older-than", "90d", "--before", "2026-01-01"], "either --older-than or --before"),
        (["prune", "STORE", "--older-than", "90"], "'90' is no age (write 36h, 90d or 12w)"),
        (["prune", "STORE", "--older-than", "9m"], "'9m' is no age"),
        (["prune", "STORE", "--older-than", "1.5d"], "'1.5d' is no age"),
        (["prune", "STORE", "--older-than", "999999w"], "is no age"),
        (["prune", "STORE", "--before", "yesterday"], "'yesterday' is no time"),
        (["prune", "none.jsonl", "--older-than", "90d"], "there is no record file none.jsonl"),
        (["count", "none.jsonl"], "there is no record file none.jsonl"),
        (["count", "STORE", "--since", "soon"], "'soon' is no time"),
        (["export", "STORE", "--to", "out.xlsx"], "name it .csv, .jsonl or .parquet"),
        (["export", "STORE", "--to", "out.csv", "--vectors"], "vectors need a Parquet file"),
        (["count", "mysql://user:SECRET@host/db"], "write sqlite:///FILE or postgresql://"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    store: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 2, and nothing changed."""
    if "mysql" in arguments[1]:
        pytest.importorskip("sqlalchemy", reason="databases need the extra `sql`")
    assert run(["records", *[str(store) if part == "STORE" else part for part in arguments]]) == Exit.USAGE
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
    assert "SECRET" not in said
    assert days(store) == list(DAYS)


def test_databases_are_stores_too(records: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By their file, or by their URL."""
    sql = pytest.importorskip("guardrail.records.sql", exc_type=ImportError, reason="databases need the extra `sql`")
    path = tmp_path / "decisions.db"
    opened = sql.SqlStore(f"sqlite:///{path}")
    opened.append(records, sync=False)
    opened.close()
    assert run(["records", "prune", str(path), "--older-than", "60d"]) == Exit.OK
    assert run(["records", "count", f"sqlite:///{path}", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["records"] == 3


def test_what_is_deleted_and_not_gone_is_told(
    records: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads the SQLite file all the while; then nobody does."""
    sql = pytest.importorskip("guardrail.records.sql", exc_type=ImportError, reason="databases need the extra `sql`")
    monkeypatch.setattr(sql.deleting, "LOCK_S", 0.0)
    path = tmp_path / "decisions.db"
    opened = sql.SqlStore(f"sqlite:///{path}")
    opened.append(records, sync=False)
    command = ["records", "prune", str(path), "--older-than", "60d"]
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM guardrail_decisions").fetchone()
        assert run(command) == Exit.OK
        told = capsys.readouterr()
        assert told.out.startswith("1 records deleted, 0.0 MB (before ")
        assert "prune again when nobody reads it" in told.err.replace("\n", " ")
    assert run([*command, "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["gone"] is True
    opened.close()

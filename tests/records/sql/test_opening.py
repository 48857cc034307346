"""How a database is named and opened."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from guardrail.errors import MissingExtra, RecordError
from guardrail.records import Record, Span, read_records
from guardrail.records.pruning import prune_records
from guardrail.records.reading import database_url, moment
from guardrail.records.sql import SqlStore
from tests.postgres import PostgresServer
from tests.records.sql.stored import ids, made

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of a SQLite store that does not exist yet."""
    return tmp_path / "folder" / "records.db"


@pytest.mark.parametrize(
    "url",
    ["SECRET", "mysql://guard:SECRET@host/db", "sqlite://", "sqlite:///:memory:", "sqlite:///x.db?mode=SECRET", "sqlite://SECRET/x.db",
     "postgresql://guard:SECRET@host:port/db", "oracle+x://SECRET"],
)  # fmt: skip
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    """With how to write it; never shown, since it may hold a password."""
    with pytest.raises(RecordError, match="sqlite:///FILE") as caught:
        SqlStore(url)
    assert not caught.value.retryable
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "needed"),
    [("sqlalchemy", "SqlStore('sqlite:///x.db')"), ("alembic", "SqlStore('sqlite:///x.db')"),
     ("psycopg", "SqlStore('postgresql://u@h/d')")],
)  # fmt: skip
def test_the_extra_is_named_where_a_package_is_missing(missing: str, needed: str, tmp_path: Path) -> None:
    """And it is a MissingExtra."""
    code = f"import sys; sys.modules[{missing!r}] = None\nfrom guardrail.records.sql import SqlStore\n{needed}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert MissingExtra.__name__ in done.stderr
    assert "guardrail-stream[sql]" in done.stderr


@pytest.mark.parametrize(
    "name", ["what?.db", "what%20x.db", "a#b c.db", "ü@x:y&=.db", b"\xff.db".decode(errors="surrogateescape")]
)
def test_a_file_may_have_any_name(name: str, tmp_path: Path) -> None:
    """It is made, read and pruned under just that name, and no other file appears."""
    path, one = tmp_path / name, made()
    with contextlib.closing(SqlStore(database_url(path))) as opened:
        opened.append([one], sync=True)
    assert [record.id for record in read_records(path)] == [one.id]
    pruned = prune_records(path, Span(until=moment("2100-01-01")))
    assert (pruned.n_records, pruned.n_bytes is not None) == (1, True)
    assert {file.name.removesuffix("-wal").removesuffix("-shm") for file in tmp_path.iterdir()} == {name}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_forked_child_opens_a_connection_of_its_own(kind: str, file: Path, postgres: PostgresServer) -> None:
    """Both go on with the same store, at the same time; where SQLite's file stays open, two in five lose records."""
    for i in range(6):
        url = f"sqlite:///{file}{i}" if kind == "sqlite" else postgres.new_url()
        opened = SqlStore(url)
        ours, theirs = ([made() for _ in range(100)] for _ in range(2))
        opened.append([made()], sync=True)
        pid = os.fork()
        if pid == 0:
            failed = 1
            try:
                write(opened, theirs)
                failed = 0
            finally:
                os._exit(failed)
        write(opened, ours)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert {record.id for record in (*ours, *theirs)} < set(ids(url))
        assert len(ids(url)) == 201


def write(store: SqlStore, records: list[Record]) -> None:
    """One by one, and no more."""
    for record in records:
        store.append([record], sync=False)
    store.close()

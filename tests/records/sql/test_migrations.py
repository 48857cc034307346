"""The tables: one column a field, and how those of older versions become those of today."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, bindparam, text

from guardrail.errors import RecordError
from guardrail.records import Positions, Record, Span, read_records
from guardrail.records.pruning import prune_records
from guardrail.records.sql import SqlStore
from guardrail.records.sql.connecting import Database
from guardrail.records.sql.migrating import REVISIONS, upgrade
from guardrail.records.sql.tables import DECISIONS, METADATA, VERSION_TABLE, UtcTime
from tests.postgres import PostgresServer

MIGRATIONS = Path(sys.modules[SqlStore.__module__].__file__ or "").with_name("migrations")

VERSION_1: dict[str, Any] = {
    "schema_version": 1, "id": "old", "stream_id": "s", "conversation_id": None,
    "direction": "response", "action": "stop", "would_action": "stop", "reason": "verdict", "risk": "Unsafe",
    "category": "Violent", "risk_probabilities": '{"Safe": 0.25, "Unsafe": 0.75, "Controversial": 0.0}',
    "category_probabilities": '{"Violent": 1.0}', "is_scored": True, "refusal": None, "stop_offset": 3,
    "released_chars": 3, "withheld_chars": 4, "leaked_chars": 0, "unjudged_chars": 0, "n_tokens": 1, "n_windows": 1,
    "n_dropped_turns": 0, "unreadable": "[]", "model": "m", "model_sha256": "0", "engine": "e", "precision": "int8",
    "policy": "p", "policy_sha256": "1", "latency_ms": 1.5, "failure": None, "tool": None, "n_deltas": 1,
    "saved_tokens": None, "n_repairs": 0, "n_repair_tokens": 0, "tenant": None, "text": "bad one",
    "tokens": '[{"start": 0, "end": 7, "risk": [0.25, 0.75, 0.0], "category": [1.0]}]',
}  # fmt: skip
"""A row as version 1 wrote it."""

OLD = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'records.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_url()


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    """To that database."""
    with Database.of(url).writing().connect() as opened:
        yield opened


def insert(connection: Connection, row: dict[str, Any]) -> None:
    """Write a row without today's code."""
    row = {**row, "time": OLD}
    values = ", ".join(f":{name}" for name in row)
    statement = text(f"INSERT INTO guardrail_decisions ({', '.join(row)}) VALUES ({values})")  # noqa: S608
    connection.execute(statement.bindparams(bindparam("time", type_=UtcTime)), row)


def test_each_field_has_a_column() -> None:
    """Nothing else but the order of insertion."""
    assert {column.name for column in DECISIONS.columns} == {*Record.model_fields, "seq"}


def test_a_column_may_be_empty_where_the_field_may() -> None:
    """But for what came later, which older rows have not."""
    later = {"text_form"}
    for name, field in Record.model_fields.items():
        is_optional = field.annotation is not None and type(None) in getattr(field.annotation, "__args__", ())
        assert DECISIONS.c[name].nullable == (is_optional or name in later), name


def test_the_revisions_known_are_the_files() -> None:
    """In one line, from the first to the last."""
    script = ScriptDirectory(str(MIGRATIONS))
    assert tuple(reversed([found.revision for found in script.walk_revisions()])) == REVISIONS


def test_migrations_make_the_tables_that_are_written(url: str, connection: Connection) -> None:
    """Alembic finds nothing that differs in tables, columns, types and indexes."""
    SqlStore(url).close()
    options = {"version_table": VERSION_TABLE, "compare_type": True}
    with connection.begin():
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []


def test_what_an_older_version_wrote_stays_readable(url: str, connection: Connection) -> None:
    """Before the tables are brought up to date, by reading them as they are, and afterwards, beside new rows."""
    with connection.begin():
        upgrade(connection, "0001")
        insert(connection, VERSION_1)
    (old,) = read_records(url)
    assert (old.id, old.schema_version, old.text, old.text_form) == ("old", 2, "bad one", "full")
    assert old.positions is not None
    assert Positions.from_bytes(old.positions).verdict(0).risk == "Unsafe"
    new = old.model_copy(update={"id": "new", "time": "2026-01-02T03:04:06+00:00"})
    store = SqlStore(url)
    store.append([new], sync=True)
    store.close()
    assert [found.to_json() for found in read_records(url)] == [old.to_json(), new.to_json()]
    with connection.begin():
        rows = connection.execute(text("SELECT id, schema_version FROM guardrail_decisions ORDER BY seq"))
        assert [tuple(row) for row in rows] == [("old", 1), ("new", 2)]


@pytest.mark.parametrize(
    "use",
    [SqlStore, lambda url: next(read_records(url)), lambda url: prune_records(url, Span(until=OLD))],
    ids=["open", "read", "prune"],
)
def test_a_newer_versions_tables_are_refused(url: str, connection: Connection, use: Callable[[str], Any]) -> None:
    """Untouched, and with what to do about it."""
    SqlStore(url).close()
    with connection.begin():
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0099'"))  # noqa: S608
    with pytest.raises(RecordError, match=r"'0099'.*newer guardrail-stream"):
        use(url)


def test_a_row_of_a_newer_version_is_counted(url: str, connection: Connection) -> None:
    """Others are read; without a count the first such row ends the reading, and its message says which it is."""
    SqlStore(url).close()
    row = {**VERSION_1, "id": "from the future", "schema_version": 77}
    with connection.begin():
        insert(connection, row)
    with pytest.raises(RecordError, match=r"'from the future'.*version 77"):
        list(read_records(url))


def test_other_tables_are_left_alone(url: str, connection: Connection) -> None:
    """The database may be another program's too, with migrations of its own."""
    with connection.begin():
        connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('theirs')"))
    SqlStore(url).close()
    with connection.begin():
        theirs = Table("alembic_version", MetaData(), autoload_with=connection)
        assert connection.execute(theirs.select()).scalar_one() == "theirs"


OPENING = """
import sys
from guardrail.records.sql import SqlStore
print("ready", flush=True)
sys.stdin.readline()
SqlStore(sys.argv[1]).close()
"""


def test_processes_that_open_at_once_make_one_table(url: str) -> None:
    """Three of them, where nothing is yet."""
    processes = [
        subprocess.Popen([sys.executable, "-c", OPENING, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0] * 3
    assert list(read_records(url)) == []

"""What only a server can do to a store: go away, end sessions, hold locks, refuse."""

import uuid
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from guardrail.errors import RecordError
from guardrail.records import Record, StoredSink
from guardrail.records.sql import SqlStore, store
from guardrail.records.sql.connecting import Database
from tests.postgres import PostgresServer
from tests.records.made import decision
from tests.records.sql.stored import ids, made

ROOT = Path(__file__).resolve().parents[3]


SEEING = (
    "CREATE TABLE seen (level TEXT)",
    """CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END$$""",
    "CREATE TRIGGER see BEFORE INSERT ON guardrail_decisions FOR EACH ROW EXECUTE FUNCTION see()",
)
"""Writes down how each record is committed."""


@pytest.fixture
def server_url(postgres: PostgresServer) -> str:
    """Of an empty database of the server."""
    return postgres.new_url()


@pytest.mark.parametrize(
    "url",
    ["postgresql://guard:SECRET@127.0.0.1:1/none", "postgresql://guard@/none?host=/no/such&password=SECRET"],
)
def test_a_server_that_is_not_there_may_come_later(url: str) -> None:
    """The message says why, and no password."""
    with pytest.raises(RecordError, match="cannot open the database none: ") as caught:
        SqlStore(url)
    assert caught.value.retryable
    assert "SECRET" not in f"{caught.value}{caught.value.__cause__}{caught.value.__context__}"


@pytest.mark.parametrize("url", ["postgres://u@h/d", "postgresql://u@h/d", "postgresql+psycopg://u@h/d"])
def test_users_need_not_name_the_driver(url: str) -> None:
    """It is psycopg 3."""
    assert Database.of(url).url.drivername == "postgresql+psycopg"


def test_a_lost_session_is_opened_again(server_url: str, postgres: PostgresServer) -> None:
    """One call fails, and the same call succeeds."""
    opened = SqlStore(server_url)
    first, second = made(), made()
    opened.append([first], sync=True)
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'guardrail'")
    with pytest.raises(RecordError) as caught:
        opened.append([second], sync=True)
    assert caught.value.retryable
    opened.append([second], sync=True)
    opened.close()
    assert ids(server_url) == [first.id, second.id]


def test_a_locked_table_is_waited_for_so_long(server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the call fails, to be tried again."""
    monkeypatch.setattr(store, "STATEMENT_S", 0.1)
    opened, other = SqlStore(server_url), Database.of(server_url).writing()
    with other.begin() as connection:
        connection.execute(text("LOCK TABLE guardrail_decisions"))
        with pytest.raises(RecordError, match="QueryCanceled") as caught:
            opened.append([made()], sync=False)
    assert caught.value.retryable
    opened.append([made()], sync=False)
    opened.close()


def test_a_database_that_became_read_only_is_waited_for(postgres: PostgresServer) -> None:
    """As a server is that was demoted: somebody will mend that."""
    server_url = postgres.new_database_url()
    opened, name = SqlStore(server_url), Database.of(server_url).url.database
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'guardrail'")
    for _ in range(2):
        with pytest.raises(RecordError) as caught:
            opened.append([made()], sync=False)
        assert caught.value.retryable
    postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    opened.append([made()], sync=False)
    opened.close()


def test_a_record_that_is_refused_costs_no_other(server_url: str) -> None:
    """An id that no index takes: its batch is taken apart, and it alone is lost, and counted."""
    good = [decision() for _ in range(3)]
    bad = decision(id="".join(uuid.uuid4().hex for _ in range(500)), conversation_id="SECRET")
    with pytest.raises(RecordError) as caught:
        SqlStore(server_url).append([Record.of(bad)], sync=True)
    assert not caught.value.retryable
    assert "SECRET" not in str(caught.value)
    sink = StoredSink(SqlStore(server_url))
    for one in [*good[:2], bad, good[2]]:
        sink.write(one, "")
    sink.close()
    assert ids(server_url) == [one.id for one in good]
    assert (sink.n_stored, sink.n_lost) == (3, 1)


@pytest.mark.parametrize(("is_sync", "level"), [(True, "on"), (False, "off")])
def test_sync_waits_for_the_servers_disk(postgres: PostgresServer, is_sync: bool, level: str) -> None:
    """`synchronous_commit` as the transaction has it, though the server's default is off."""
    server_url = postgres.new_database_url()
    engine = create_engine(Database.of(server_url).url)
    with engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {engine.url.database} SET synchronous_commit = off"))
    opened = SqlStore(server_url)
    with engine.begin() as connection:
        for statement in SEEING:
            connection.execute(text(statement))
    opened.append([made()], sync=is_sync)
    opened.close()
    with engine.begin() as connection:
        assert connection.execute(text("SELECT level FROM seen")).scalar_one() == level
    engine.dispose()

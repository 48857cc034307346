"""What only a file can do to a store: be locked, full, moved away, read-only."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guardrail.errors import RecordError
from guardrail.records import Skipped, Span, read_records
from guardrail.records.pruning import prune_records
from guardrail.records.sql import SqlStore, connecting, deleting
from tests.postgres import NOBODY
from tests.records.sql.stored import ids, made

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of a SQLite store that does not exist yet."""
    return tmp_path / "folder" / "records.db"


@pytest.fixture
def quick_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a lock."""
    monkeypatch.setattr(connecting, "LOCK_S", 0.05)


def test_a_locked_file_is_waited_for(file: Path, quick_locks: None) -> None:
    """Another program holds it: the call fails, and the same call succeeds when that one is done."""
    opened, one = SqlStore(f"sqlite:///{file}"), made()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RecordError, match="locked") as caught:
        opened.append([one], sync=True)
    assert caught.value.retryable
    other.execute("ROLLBACK")
    other.close()
    opened.append([one], sync=True)
    opened.close()
    assert ids(str(file)) == [one.id]


FULL = """
import resource, sys
from guardrail.errors import RecordError
from guardrail.records import Record
from guardrail.records.sql import SqlStore
from tests.records.made import decision
store = SqlStore(sys.argv[1])
def limit(n_bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))
batch = [Record.of(decision(conversation_id="x" * 1000)) for _ in range(40)]
limit(100_000)
n = 0
try:
    while True:
        batch = [Record.of(decision(conversation_id="x" * 1000)) for _ in range(40)]
        store.append(batch, sync=True)
        n += len(batch)
except RecordError as error:
    assert error.retryable, error
limit(resource.RLIM_INFINITY)
store.append(batch, sync=True)
store.close()
print(n + len(batch))
"""


def test_a_full_disk_takes_the_batch_later(file: Path) -> None:
    """All of it: what did not fit left nothing behind. Files of this process may not grow, then they may."""
    command = [sys.executable, "-c", FULL, f"sqlite:///{file}"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 40
    assert len(ids(str(file))) == int(done.stdout)


def test_a_file_that_was_moved_away_is_made_anew(file: Path) -> None:
    """What is written to a file without a name nobody finds."""
    opened, before, after = SqlStore(f"sqlite:///{file}"), made(), made()
    opened.append([before], sync=False)
    moved = file.rename(file.with_name("moved.db"))
    opened.append([after], sync=False)
    opened.close()
    assert (ids(str(moved)), ids(str(file))) == ([before.id], [after.id])


def test_a_file_that_is_no_database_is_left_alone(file: Path) -> None:
    """It may be somebody's."""
    file.parent.mkdir()
    file.write_bytes(b"a letter" * 1000)
    with pytest.raises(RecordError, match="not a database"):
        SqlStore(f"sqlite:///{file}")
    assert file.read_bytes() == b"a letter" * 1000


def test_only_its_owner_can_read_a_file(file: Path) -> None:
    """Nor its log."""
    opened = SqlStore(f"sqlite:///{file}")
    opened.append([made()], sync=False)
    assert {path.stat().st_mode & 0o777 for path in file.parent.iterdir()} == {0o600}
    assert len(list(file.parent.iterdir())) == 3
    opened.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [("time", "'SECRET'"), ("time", "5"), ("time", "x'ff'"), ("unreadable", "'{SECRET'"), ("unreadable", "'7'"),
     ("failure", "'[[[['"), ("risk_probabilities", "'{\"SECRET\": NaN}'"), ("n_tokens", "'SECRET'"), ("is_scored", "7"),
     ("positions", "'SECRET!'"), ("tenant", "CAST(x'ff' AS TEXT)"), ("action", "'SECRET'"), ("schema_version", "3")],
)  # fmt: skip
def test_a_damaged_row_is_counted_and_costs_no_other(file: Path, column: str, value: str) -> None:
    """Whatever a cell holds, since SQLite keeps anything in any; told by its id, without what it holds."""
    opened, records = SqlStore(f"sqlite:///{file}"), [made() for _ in range(5)]
    opened.append(records, sync=True)
    opened.close()
    with contextlib.closing(sqlite3.connect(file)) as other, other:
        other.execute(f"UPDATE guardrail_decisions SET {column} = {value} WHERE id = ?", (records[2].id,))  # noqa: S608
    skipped = Skipped()
    whole = [record for record in records if record is not records[2]]
    assert sorted(read_records(file, skipped=skipped), key=records.index) == whole
    assert skipped.n_lines == 1
    assert skipped.first.startswith(f"record '{records[2].id}': ")
    assert "SECRET" not in skipped.first
    with pytest.raises(RecordError, match=records[2].id):
        list(read_records(file))


def test_a_file_that_is_read_is_emptied_once_nobody_reads(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then pruning says that what was deleted is still there, and that nothing became smaller; writers go on."""
    monkeypatch.setattr(deleting, "LOCK_S", 0.1)
    opened = SqlStore(f"sqlite:///{file}")
    opened.append([made(conversation_id="PRIVATE" * 200) for _ in range(50)], sync=True)
    span = Span(until=datetime.now(UTC) + timedelta(days=3650))
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM guardrail_decisions").fetchone()
        pruned = prune_records(file, span)
        assert (pruned.n_records, pruned.n_bytes, pruned.is_gone) == (50, 0, False)
        opened.append([made()], sync=True)
    again = prune_records(file, span)
    assert (again.n_records, again.is_gone) == (1, True)
    assert not any(b"PRIVATE" in path.read_bytes() for path in file.parent.iterdir())
    opened.close()


@pytest.mark.parametrize(("is_sync", "level"), [(True, 2), (False, 1)])
def test_sync_waits_for_the_disk(file: Path, is_sync: bool, level: int) -> None:
    """SQLite's `synchronous` in the transaction: FULL, or NORMAL."""
    opened = SqlStore(f"sqlite:///{file}")
    opened.append([made()], sync=not is_sync)
    opened.append([made()], sync=is_sync)
    assert opened._connection is not None
    driver = opened._connection.connection.driver_connection
    assert driver is not None
    assert driver.execute("PRAGMA synchronous").fetchone() == (level,)
    assert driver.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    opened.close()


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that everybody can read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_nobody(work: Callable[[], None]) -> int:
    """Do work in a forked process without rights; return its exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  # the child must not go on as a test
            os.write(2, repr(error).encode())
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_read_only_file_is_read_and_not_written(readable: Path) -> None:
    """Nor is anything made beside it; who would write is told at once."""
    file, records = readable / "records.db", [made(), made()]
    opened = SqlStore(f"sqlite:///{file}")
    opened.append(records, sync=True)
    opened.close()
    file.chmod(0o444)
    readable.chmod(0o555)

    def read_and_try_to_write() -> None:
        assert ids(str(file)) == [record.id for record in records]
        with pytest.raises(RecordError, match="cannot open"):
            SqlStore(f"sqlite:///{file}")

    assert as_nobody(read_and_try_to_write) == 0
    assert list(readable.iterdir()) == [file]

"""Old records taken out of stores, and nothing else, whoever writes meanwhile."""

import fcntl
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from guardrail.errors import RecordError
from guardrail.records import JsonlStore, Record, Span, read_records
from guardrail.records.pruning import prune_records
from guardrail.records.sql import SqlStore, deleting
from tests.postgres import PostgresServer
from tests.records.made import decision

ROOT = Path(__file__).resolve().parents[2]
OLD, BOUND, NEW = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 6, 11))
ALL_OLD = Span(until=BOUND)


def made(n: int, time: datetime, **changes: Any) -> list[Record]:
    """Records of consecutive seconds."""
    times = [(time + timedelta(seconds=i)).timestamp() for i in range(n)]
    return [Record.of(decision(time=at, **changes)) for at in times]


def write(path: Path, *groups: list[Record]) -> None:
    """Write groups of records, each into a file of its own: all but the last one are rotated."""
    for group in groups:
        store = JsonlStore(path, max_bytes=1)
        store.append(group, sync=False)
        store.close()


def ids(source: str | Path) -> list[str]:
    """Of all that is left."""
    return [record.id for record in read_records(source)]


def test_files_are_removed_rewritten_or_left(tmp_path: Path) -> None:
    """Wholly old, partly old, and young ones; what is left stays in its order, for the same readers as before."""
    path, old, new = tmp_path / "r.jsonl", made(4, OLD), made(4, NEW)
    write(path, old[:2], [old[2], new[0]], new[1:3], [old[3], new[3]])
    files = [tmp_path / f"r.jsonl.{i}" for i in (1, 2, 3)]
    path.chmod(0o640)
    young, size = files[2].stat(), sum(file.stat().st_size for file in tmp_path.iterdir())
    pruned = prune_records(path, ALL_OLD)
    assert (pruned.n_records, pruned.n_unreadable) == (4, 0)
    assert pruned.n_bytes == size - sum(file.stat().st_size for file in tmp_path.iterdir())
    assert sorted(tmp_path.iterdir()) == [path, files[1], files[2]]
    assert ids(path) == [record.id for record in new]
    assert files[2].stat() == young
    assert path.stat().st_mode & 0o777 == 0o640
    assert prune_records(path, ALL_OLD).n_records == 0


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """It counts what would go."""
    path = tmp_path / "r.jsonl"
    write(path, made(3, OLD), made(2, OLD) + made(1, NEW))
    before = {file: (file.read_bytes(), file.stat().st_ino) for file in tmp_path.iterdir()}
    assert prune_records(path, ALL_OLD, dry_run=True).n_records == 5
    assert {file: (file.read_bytes(), file.stat().st_ino) for file in tmp_path.iterdir()} == before


def test_what_says_no_time_is_left(tmp_path: Path) -> None:
    """Records of other versions go by their time; torn, damaged and foreign lines stay, and are counted."""
    path = tmp_path / "r.jsonl"
    odd = ["no JSON", "[]", '{"time": 5}', '{"time": "later"}', '{"id": "no time"}']
    later = json.dumps({"schema_version": 77, "id": "x", "time": OLD.isoformat()})
    plain = [record.to_json() for record in (*made(1, OLD), *made(1, NEW))]
    torn = '{"time": "2026-01-01T00:00'
    path.write_text("\n".join([later, *odd, plain[0], "", plain[1], torn]))
    pruned = prune_records(path, ALL_OLD)
    assert (pruned.n_records, pruned.n_unreadable) == (2, len(odd) + 1)
    assert path.read_text() == "\n".join([*odd, "", plain[1], torn])


@pytest.fixture(params=["jsonl", "sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a store that does not exist yet."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.new_url()
    return str(tmp_path / ("r.jsonl" if request.param == "jsonl" else "r.db"))


def opened(target: str) -> JsonlStore | SqlStore:
    """A store there."""
    if target.endswith(".jsonl"):
        return JsonlStore(target)
    return SqlStore(target if "://" in target else f"sqlite:///{target}")


def test_a_tenants_records_go_alone(target: str) -> None:
    """Those of others, and of nobody, stay."""
    store = opened(target)
    theirs, others = made(2, OLD, tenant="shop"), made(2, OLD, tenant="bank") + made(2, OLD) + made(1, NEW)
    store.append(theirs + others, sync=False)
    span = Span(until=BOUND, tenant="shop")
    assert prune_records(target, span, dry_run=True).n_records == 2
    assert prune_records(target, span).n_records == 2
    assert sorted(ids(target)) == sorted(record.id for record in others)
    store.close()


def test_a_store_that_is_open_goes_on(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after, with rows deleted a few at a time."""
    monkeypatch.setattr(deleting, "ROWS", 7)
    store, old, new, last = opened(target), made(40, OLD), made(3, NEW), made(1, NEW + timedelta(days=1))
    store.append(old + new, sync=False)
    told: list[int] = []
    assert prune_records(target, ALL_OLD, advance=told.append).n_records == 40
    assert sum(told) >= 40
    store.append(last, sync=True)
    store.close()
    assert ids(target) == [record.id for record in new + last]


def test_the_bound_is_needed_and_the_store_too(target: str) -> None:
    """Nothing is deleted by mistake, and no store made."""
    with pytest.raises(RecordError, match="say until when"):
        prune_records(target, Span())
    with pytest.raises(RecordError, match=r"no record file|holds no records"):
        prune_records(target, ALL_OLD)
    assert "://" in target or not Path(target).exists()


def test_what_is_deleted_from_a_sqlite_file_is_gone(tmp_path: Path) -> None:
    """The file shrinks, and neither it nor its log holds the text any more."""
    path = tmp_path / "r.db"
    store = SqlStore(f"sqlite:///{path}")
    old = [record.model_copy(update={"text": "PRIVATE" * 500}) for record in made(200, OLD)]
    short = [record.model_copy(update={"text": "PRIVATE"}) for record in made(20, OLD)]
    beside = [record for pair in zip(short, made(20, NEW), strict=True) for record in pair]  # in the same pages
    store.append(old + beside, sync=True)
    before = sum(file.stat().st_size for file in tmp_path.iterdir())
    pruned = prune_records(path, ALL_OLD)
    left = [file.read_bytes() for file in tmp_path.iterdir() if not file.name.endswith("-shm")]
    assert pruned.n_bytes is not None
    assert pruned.n_bytes > 500_000
    assert sum(map(len, left)) < before / 4
    assert not any(b"PRIVATE" in content for content in left)
    store.close()


def test_files_without_locks_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer might be at them."""

    def refuse(*_: int) -> None:
        raise OSError(38, "Function not implemented")

    path = tmp_path / "r.jsonl"
    write(path, made(3, OLD))
    before = path.read_bytes()
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RecordError, match="has no locks"):
        prune_records(path, ALL_OLD)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, and nothing beside it."""
    path = tmp_path / "r.jsonl"
    write(path, made(3, OLD) + made(3, NEW))
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RecordError, match="No space left"):
        prune_records(path, ALL_OLD)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_rotated_meanwhile_is_left(tmp_path: Path) -> None:
    """Nothing of it is deleted, and the next try finds it under its new name."""
    path, old, new = tmp_path / "r.jsonl", made(1, OLD), made(1, NEW)
    write(path, old)

    def rotate(_: int) -> None:
        if not path.with_name("r.jsonl.1").exists():
            write(path, new)

    with pytest.raises(RecordError, match="moved away meanwhile") as caught:
        prune_records(path, ALL_OLD, advance=rotate)
    assert caught.value.retryable
    assert ids(path) == [record.id for record in old + new]
    assert prune_records(path, ALL_OLD).n_records == 1


WRITING = """
import sys
from guardrail.records import JsonlStore, Record
from tests.records.made import decision
store = JsonlStore(sys.argv[1], max_bytes=int(sys.argv[2]) or None)
for i in range(600):
    old, new = (Record.of(decision(time=time)) for time in (1.7e9, 1.9e9))
    store.append([old, new, old], sync=False)
    print(new.id, flush=True)
"""


@pytest.mark.parametrize("max_bytes", [0, 30_000], ids=["one file", "rotated"])
def test_nothing_is_lost_that_another_process_writes(tmp_path: Path, max_bytes: int) -> None:
    """Pruned again and again while it writes: each new record is there once, and no old one in the end."""
    path = tmp_path / "r.jsonl"
    command = [sys.executable, "-c", WRITING, str(path), str(max_bytes)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert child.stdout is not None
    told, n_pruned = [child.stdout.readline()], 0
    while child.poll() is None:
        try:
            n_pruned += prune_records(path, ALL_OLD).n_records
        except RecordError as error:
            if not error.retryable:
                raise
    told += child.stdout.readlines()
    child.stdout.close()
    assert child.returncode == 0
    prune_records(path, ALL_OLD)
    assert n_pruned > 100
    assert ids(path) == [line.rstrip() for line in told]
    assert len(told) == 600

"""Records as JSON lines: no line is torn, lost or doubled, whoever else writes, dies, or takes the file away."""

import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from guardrail.encoding import GuardTokenizer
from guardrail.errors import RecordError
from guardrail.guard import Guard
from guardrail.records import JsonlSink, JsonlStore
from guardrail.testing import MarkerEngine
from tests.records.made import decision, lines, record

RISKY = {"☠": ("Unsafe", "Violent")}
FRAGMENT = '{"schema_version":2,"id":"ha'


def numbers(path: Path) -> list[int]:
    return [int(r.conversation_id or -1) for r in lines(path)]


def test_lines_stand_behind_what_the_file_held(tmp_path: Path) -> None:
    """Also in a folder that is yet to be made, and by stores that come one after the other."""
    path = tmp_path / "deep" / "records.jsonl"
    for number in range(3):
        store = JsonlStore(path)
        store.append([record(number), record(number + 10)], sync=False)
        store.close()
        store.close()
    assert numbers(path) == [0, 10, 1, 11, 2, 12]


def test_a_store_that_is_closed_takes_nothing(tmp_path: Path) -> None:
    """And says so as all failures of records are told."""
    store = JsonlStore(tmp_path / "r.jsonl")
    store.close()
    with pytest.raises(RecordError, match="closed") as caught:
        store.append([record(0)], sync=False)
    assert not caught.value.retryable


def test_a_record_file_is_its_owners_alone(tmp_path: Path) -> None:
    """Kept text may be private."""
    JsonlStore(tmp_path / "r.jsonl").close()
    assert stat.S_IMODE((tmp_path / "r.jsonl").stat().st_mode) == 0o600


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What was forced to the disk: kind, and size at that moment."""
    found: list[tuple[str, int]] = []
    fsync = os.fsync

    def spy(fd: int) -> None:
        status = os.fstat(fd)
        fsync(fd)
        found.append(("folder", 0) if stat.S_ISDIR(status.st_mode) else ("file", status.st_size))

    monkeypatch.setattr(os, "fsync", spy)
    return found


def test_a_stop_is_forced_to_the_disk_before_its_call_returns(
    tokenizer: GuardTokenizer, tmp_path: Path, synced: list[tuple[str, int]]
) -> None:
    """With its line whole; at first its folder is, too, or a crash might lose the file. Nothing else waits for that."""
    path = tmp_path / "r.jsonl"
    sink = JsonlSink(path)
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[sink])
    guard.check_prompt("kill ☠")
    assert synced == [("file", path.stat().st_size), ("folder", 0)]
    guard.check_prompt("hello")
    assert sink.flush()
    assert len(synced) == 2
    guard.check_response("hi", "some words ☠ and more words")
    assert synced[2:] == [("file", path.stat().st_size)]
    sink.close()


def test_under_batch_nothing_is_forced(
    tokenizer: GuardTokenizer, tmp_path: Path, synced: list[tuple[str, int]]
) -> None:
    """The system writes it when it likes."""
    with JsonlSink(tmp_path / "r.jsonl", durability="batch") as sink:
        Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[sink]).check_prompt("kill ☠")
    assert len(lines(tmp_path / "r.jsonl")) == 1
    assert synced == []


def test_an_unfinished_line_costs_no_other_record(tmp_path: Path) -> None:
    """A writer that was killed left half a line: the next record begins a line of its own."""
    path = tmp_path / "r.jsonl"
    path.write_text(FRAGMENT)
    for number in range(2):
        store = JsonlStore(path)
        store.append([record(number)], sync=False)
        store.close()
    fragment, *rest = path.read_text("utf-8").splitlines()
    assert fragment == FRAGMENT
    path.write_text("\n".join(rest))
    assert numbers(path) == [0, 1]


def test_a_fragment_of_another_writer_costs_no_record_either(tmp_path: Path) -> None:
    """Another process died inside its line while this store was open."""
    path = tmp_path / "r.jsonl"
    store = JsonlStore(path)
    store.append([record(0)], sync=False)
    with path.open("a") as other:
        other.write(FRAGMENT)
    store.append([record(1), record(2)], sync=False)
    store.close()
    first, fragment, *rest = path.read_text("utf-8").splitlines()
    assert fragment == FRAGMENT
    path.write_text("\n".join([first, *rest]))
    assert numbers(path) == [0, 1, 2]


def test_a_pipe_takes_records_though_it_has_no_disk() -> None:
    """As with `--records /dev/stderr`: a stop is written, and is no failure of the sink."""
    reading, writing = os.pipe()
    with JsonlSink(f"/dev/fd/{writing}") as sink:
        made = [decision(is_stop=is_stop) for is_stop in (True, False)]
        for one in made:
            sink.write(one, "")
        assert sink.flush()
    assert sink.n_lost == 0
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert len(pipe.readlines()) == 2


def test_a_pipe_that_nobody_reads_any_more_takes_none_for_good(tmp_path: Path) -> None:
    """Closing would else wait for a reader that never comes back."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    store = JsonlStore(fifo)
    os.close(reading)
    with pytest.raises(RecordError, match="Broken pipe") as caught:
        store.append([record()], sync=True)
    assert not caught.value.retryable
    store.close()


def test_a_file_that_may_only_be_written_takes_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that its writers may not read; how it ends is then not looked at."""
    opening = os.open

    def refuse(path: Path, how: int, *rest: int) -> int:
        if how & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return opening(path, how, *rest)

    path = tmp_path / "r.jsonl"
    monkeypatch.setattr(os, "open", refuse)
    store = JsonlStore(path)
    store.append([record(1)], sync=True)
    store.close()
    assert numbers(path) == [1]


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    """No line is torn or lost."""
    path = tmp_path / "r.jsonl"
    with JsonlSink(path, durability="batch") as sink:

        def write_many() -> None:
            for _ in range(50):
                sink.write(decision(), "")

        threads = [threading.Thread(target=write_many) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({r.id for r in lines(path)}) == len(lines(path)) == 400


@pytest.mark.parametrize("what", ["removed", "renamed", "truncated", "folder removed"])
def test_a_file_that_others_take_away_is_begun_anew(what: str, tmp_path: Path) -> None:
    """As logrotate does; the next record is stored where people look for it."""
    path = tmp_path / "logs" / "r.jsonl"
    store = JsonlStore(path)
    store.append([record(0)], sync=False)
    if what == "removed":
        path.unlink()
    elif what == "renamed":
        path.rename(path.with_name("r.jsonl.old"))
    elif what == "truncated":
        os.truncate(path, 0)
    else:
        shutil.rmtree(path.parent)
    store.append([record(1)], sync=True)
    store.append([record(2)], sync=True)
    store.close()
    assert numbers(path) == [1, 2]
    if what == "renamed":
        assert numbers(path.with_name("r.jsonl.old")) == [0]


def test_a_store_that_comes_through_a_fork_has_a_lock_of_its_own(tmp_path: Path) -> None:
    """Else parent and child would hold the same one at once."""
    code = f"""
import fcntl, os
from guardrail.records import JsonlStore
from tests.records.made import record
store = JsonlStore({str(tmp_path / "r.jsonl")!r})
fcntl.flock(store._fd, fcntl.LOCK_EX)
if os.fork() == 0:
    store.append([record(1)], sync=False)
    os._exit(0)
print("waits" if os.waitpid(-1, os.WNOHANG) == (0, 0) else "ended")
import time; time.sleep(0.5)
print("waits" if os.waitpid(-1, os.WNOHANG) == (0, 0) else "ended")
fcntl.flock(store._fd, fcntl.LOCK_UN)
os.wait()
store.append([record(2)], sync=False)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path]))}
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=60, check=True, capture_output=True, text=True, env=environment
    )
    assert done.stdout.split() == ["waits", "waits"]
    assert numbers(tmp_path / "r.jsonl") == [1, 2]

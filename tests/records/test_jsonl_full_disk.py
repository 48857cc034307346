"""A file of JSON lines on a disk that is full or broken: no half batch stays, nothing is lost once it is well."""

import fcntl
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guardrail.encoding import GuardTokenizer
from guardrail.errors import RecordError
from guardrail.guard import Guard
from guardrail.records import JsonlSink, JsonlStore, Queueing, jsonl
from guardrail.testing import MarkerEngine
from tests.records.made import lines, record

RISKY = {"☠": ("Unsafe", "Violent")}
FRAGMENT = '{"schema_version":2,"id":"ha'


def numbers(path: Path) -> list[int]:
    return [int(r.conversation_id or -1) for r in lines(path)]


def test_what_cannot_be_forced_to_the_disk_is_not_stored_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write is taken back, and made again as a whole."""
    store, fsync = JsonlStore(tmp_path / "r.jsonl"), os.fsync

    def fail(fd: int) -> None:  # as os.fsync
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RecordError, match="Input/output error") as caught:
        store.append([record(1)], sync=True)
    assert caught.value.retryable
    monkeypatch.setattr(os, "fsync", fsync)
    store.append([record(1)], sync=True)
    store.close()
    assert numbers(tmp_path / "r.jsonl") == [1]


def test_a_full_disk_leaves_no_half_batch(tmp_path: Path) -> None:
    """Cut in the middle by a limit on the file's size: an error then, whole lines again once there is room."""
    path = tmp_path / "r.jsonl"
    store = JsonlStore(path)
    store.append([record(0)], sync=False)
    size = path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
    try:
        for _ in range(2):
            with pytest.raises(RecordError, match="cannot write the record: File too large") as caught:
                store.append([record(1), record(2)], sync=False)
            assert caught.value.retryable
            assert path.stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    store.append([record(1), record(2)], sync=False)
    store.close()
    assert numbers(path) == [0, 1, 2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("NOT TESTED: a full disk needs the right to mount a tmpfs")
    yield folder
    subprocess.run([mount.replace("mount", "umount"), folder], check=True)


def test_on_a_full_disk_nothing_is_lost_and_no_decision_changes(
    small_disk: Path, tokenizer: GuardTokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    """Records wait until there is room again, in order; meanwhile every line of the file is whole."""
    path, ballast = small_disk / "r.jsonl", small_disk / "ballast"
    ballast.write_bytes(bytes(56 << 10))
    sink = JsonlSink(path, queueing=Queueing(timeout_s=0.1))
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[sink])
    made = [guard.check_prompt("kill ☠" if i % 4 == 0 else "hello") for i in range(20)]
    assert [d.stopped for d in made] == [i % 4 == 0 for i in range(20)]
    while not caplog.records:
        time.sleep(0.01)
    assert sink.n_waiting > 0
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # between two tries
        assert len(lines(path)) == sink.n_stored
    ballast.unlink()
    assert sink.flush(30)
    sink.close()
    assert [r.id for r in lines(path)] == [d.id for d in made]
    assert (sink.n_lost, guard.n_record_failures) == (0, 0)
    assert [r.getMessage() for r in caplog.records] == [
        "the record sink is away, records wait: cannot write the record: No space left on device",
        "the record sink is back",
    ]


def test_a_file_system_without_locks_takes_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is taken back there, since others may have written behind it: a fragment stays, and no record is lost."""

    def refuse(fd: int, how: int) -> None:  # as fcntl.flock
        raise OSError(38, "Function not implemented")

    path, again = tmp_path / "r.jsonl", record(1)
    monkeypatch.setattr(fcntl, "flock", refuse)
    store = JsonlStore(path)
    store.append([record(0)], sync=False)
    monkeypatch.setattr(jsonl, "_write", _half_then_full(jsonl._write))
    with pytest.raises(RecordError, match="No space"):
        store.append([again], sync=False)
    store.append([again], sync=False)
    store.close()
    first, fragment, last = path.read_text("utf-8").splitlines()
    assert last.startswith(fragment)
    path.write_text(f"{first}\n{last}\n")
    assert numbers(path) == [0, 1]


def _half_then_full(write: Callable[[int, bytes], None]) -> Callable[[int, bytes], None]:
    calls: list[int] = []

    def write_half(fd: int, data: bytes) -> None:
        calls.append(fd)
        if len(calls) == 1:
            write(fd, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        write(fd, data)

    return write_half

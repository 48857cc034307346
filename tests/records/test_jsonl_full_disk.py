"""A file of JSON lines on a disk that is full or broken: no half batch stays, nothing is lost once it is well."""

import fcntl
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail.encoding import GuardTokenizer
from guardrail.errors import RecordError
from guardrail.guard import Guard
from guardrail.records import JsonlSink, JsonlStore, Queueing, Skipped, read_records
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


@pytest.fixture(params=["no locks", "may only grow"])
def lasting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was written can be taken back: others may have written behind it, or the system refuses."""

    def refuse(*_: int) -> None:
        raise OSError(38, "Function not implemented")

    name = (fcntl, "flock") if request.param == "no locks" else (os, "ftruncate")
    monkeypatch.setattr(*name, refuse)


@pytest.mark.usefixtures("lasting")
def test_what_cannot_be_taken_back_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that was cut off goes on where it ends: a fragment stays, and each record is there once."""
    path, batch, write = tmp_path / "r.jsonl", [record(number) for number in range(1, 5)], os.write
    size = len(batch[0].to_json())
    store = JsonlStore(path)
    store.append([record(0)], sync=False)

    def fail_after(n_bytes: int) -> None:
        left = [n_bytes]

        def cut(fd: int, data: memoryview) -> int:
            if not left[0]:
                raise OSError(28, "No space left on device")
            n = write(fd, data[: left[0]])
            left[0] -= n
            return n

        monkeypatch.setattr(os, "write", cut)

    for n_bytes in (int(1.5 * size), 0, 1, 2 * size):
        fail_after(n_bytes)
        with pytest.raises(RecordError, match="No space"):
            store.append(batch, sync=True)
    monkeypatch.setattr(os, "write", write)
    store.append(batch, sync=True)
    store.append([record(5)], sync=True)
    store.close()
    skipped = Skipped()
    assert [r.conversation_id for r in read_records(path, skipped=skipped)] == ["0", "1", "2", "3", "4", "5"]
    assert skipped.n_lines == 2


@pytest.mark.usefixtures("lasting")
@pytest.mark.parametrize("is_moved", [False, True])
def test_what_was_written_and_not_forced_is_only_forced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_moved: bool
) -> None:
    """However often that fails, and though the file is moved aside meanwhile."""
    path, batch, fsync = tmp_path / "r.jsonl", [record(1), record(2)], os.fsync
    store = JsonlStore(path)

    def fail(fd: int) -> None:  # as os.fsync
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        for _ in range(3):
            with pytest.raises(RecordError, match="Input/output error"):
                store.append(batch, sync=True)
    if is_moved:
        path.rename(path.with_name("r.jsonl.1"))
    forced: list[int] = []

    def force(fd: int) -> None:  # as os.fsync
        forced.append(os.fstat(fd).st_size)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", force)
    store.append(batch, sync=True)
    size = sum(len(one.to_json()) + 1 for one in batch)
    assert forced[0] == size
    store.append([record(3)], sync=True)
    store.close()
    assert [r.conversation_id for r in read_records(path)] == ["1", "2", "3"]

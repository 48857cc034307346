"""Faults of what records are stored in: full disks, a database that is away, sinks that raise or hang, the clock."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

import pytest

from guardrail.decision import Decision
from guardrail.records import Queueing, Record, StoredSink
from tests.faults.scene import Scene, Seen
from tests.postgres import PostgresServer

TMPFS_BYTES = 1 << 20


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, which a few records fill."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["/bin/mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small tmpfs cannot be mounted here: run as root, with CAP_SYS_ADMIN")
    try:
        yield disk
    finally:
        subprocess.run(["/bin/umount", "-l", str(disk)], check=True)


def fill(ballast: Path) -> None:
    """Write until there is no room."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(512)):
            pass


def full_disk(name: str) -> Callable[[Scene], Seen]:
    """Return a fault: the disk is full while answers stream, then somebody makes room."""

    def fault(scene: Scene) -> Seen:
        with small_disk(scene.folder) as disk:
            there = Scene(disk, name)
            guard = there.guard(None, there.sink(timeout_s=0.05))
            assert isinstance(guard.sinks[0], StoredSink)
            ballast = disk / "ballast"
            shown = [there.answer(guard)]
            fill(ballast)
            shown += [there.answer(guard) for _ in range(3)]
            assert guard.sinks[0].n_waiting
            ballast.unlink()
            assert guard.sinks[0].flush(30)
            return there.seen(shown)

    return fault


def disk_stays_full(scene: Scene) -> Seen:
    """Nobody makes room: what the queue cannot hold is dropped, and counted."""
    with small_disk(scene.folder) as disk:
        there = Scene(disk)
        guard = there.guard(None, there.sink(timeout_s=0.01, max_waiting=4, close_s=0.2))
        (disk / "ballast").write_bytes(bytes(TMPFS_BYTES - 8192))
        shown = [there.answer(guard) for _ in range(40)]
        seen = there.seen(shown)
        assert guard.n_record_failures == seen.lost
        seen.note = f"stop; {seen.lost} of 40 records lost, all of them counted"
        return seen


def database_goes_and_comes_back(scene: Scene, server: PostgresServer) -> Seen:
    """PostgreSQL is stopped in the middle of an answer, as by a crash, and started again after the next one."""
    there = Scene(scene.folder, server.new_url())
    guard = there.guard(None, there.sink(timeout_s=0.05))
    shown = [there.answer(guard)]
    shown.append(there.answer(guard, lambda i: server.stop("immediate") if i == 3 else None))
    shown.append(there.answer(guard))
    server.start()
    assert isinstance(guard.sinks[0], StoredSink)
    assert guard.sinks[0].flush(60)
    return there.seen(shown)


class _Stuck:
    """A store that does not come back from a call."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def append(self, records: Sequence[Record], *, sync: bool) -> None:  # noqa: ARG002  # the protocol's
        """Hang."""
        self.go.wait()

    def close(self) -> None:
        """Do nothing."""


def store_hangs(scene: Scene) -> Seen:
    """A store does not come back; another one does its work."""
    stuck = _Stuck()
    sink = StoredSink(stuck, queueing=Queueing(timeout_s=0.05, close_s=0.1))
    shown = scene.answer(scene.guard(None, sink, scene.sink()))
    stuck.go.set()
    sink.close()
    return scene.seen([shown])


def sink_raises(scene: Scene) -> Seen:
    """A sink of the user's raises; another one does its work."""

    class Broken:
        def write(self, decision: Decision, text: str) -> None:  # noqa: ARG002  # the protocol's
            raise OSError(text)

        def close(self) -> None: ...

    guard = scene.guard(None, Broken(), scene.sink())
    shown = scene.answer(guard)
    assert guard.n_record_failures == 1
    return scene.seen([shown])


def clock_jumps(seconds: float) -> Callable[[Scene], Seen]:
    """Return a fault: the system's clock is set in the middle of an answer."""

    def fault(scene: Scene) -> Seen:
        guard, real, jumped = scene.guard(), time.time, [0.0]

        def between(i: int) -> None:
            jumped[0] = seconds if i >= 3 else 0.0

        with mock.patch.object(time, "time", side_effect=lambda: real() + jumped[0]):
            guard = guard.with_policy(guard.policy)
            shown = [scene.answer(guard, between), scene.answer(guard)]
        seen = scene.seen(shown)
        assert all(0 <= record.latency_ms < 60_000 for record in seen.stored)
        return seen

    return fault


FAULTS: dict[str, Callable[[Scene], Seen]] = {
    "the disk is full, then has room (JSON lines)": full_disk("records.jsonl"),
    "the disk is full, then has room (SQLite)": full_disk("records.db"),
    "the disk stays full": disk_stays_full,
    "a store hangs": store_hangs,
    "a sink raises": sink_raises,
    "the clock jumps back an hour": clock_jumps(-3600),
    "the clock jumps on a year": clock_jumps(365 * 86400),
}

OF_DATABASES: dict[str, Callable[[Scene, PostgresServer], Seen]] = {
    "the database crashes inside an answer, and comes back": database_goes_and_comes_back,
}

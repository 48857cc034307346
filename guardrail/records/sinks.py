"""Sinks that need nothing but the standard library: memory and JSON lines."""

import errno
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from guardrail.decision import Decision
from guardrail.errors import RecordError
from guardrail.records.record import Record

if sys.platform != "win32":
    import fcntl


class MemorySink:
    """Keeps the latest decisions in memory. Safe for many threads.

    Attributes:
        decisions: oldest first.
    """

    def __init__(self, max_decisions: int = 10_000) -> None:
        self.decisions: deque[Decision] = deque(maxlen=max_decisions)

    def write(self, decision: Decision, text: str) -> None:  # noqa: ARG002  # the protocol's
        """Keep the decision; the text is dropped."""
        self.decisions.append(decision)

    def close(self) -> None:
        """Do nothing: what was kept stays readable."""


class JsonlSink:
    """Appends one JSON line a decision, flushed before `write` returns. Safe for many threads and processes: each
    record is one appending write, under a lock of the file where the system has them.

    A stop is also forced to the disk before its call returns (`durability="sync"`), so that an acknowledged stop
    survives a crash of the machine; `"batch"` leaves that to the operating system and may lose its last seconds. A line
    that a full disk or a killed writer, this one or another, left unfinished is ended before the next record: that one
    fragment is lost, not the record behind it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        include_text: bool = False,
        include_tokens: bool = False,
        durability: str = "sync",
    ) -> None:
        """Open the file for appending, making its folder if needed.

        Args:
            path: the file.
            include_text: keep the judged text. Off: records hold no user text.
            include_tokens: keep every token's probability vectors.
            durability: "sync" or "batch".

        Raises:
            RecordError: the file cannot be opened, or `durability` is neither.
        """
        if durability not in ("sync", "batch"):
            raise RecordError(f"durability {durability!r} is unknown; valid: sync, batch")
        self._include_text, self._include_tokens, self._sync = include_text, include_tokens, durability == "sync"
        self._lock = threading.Lock()
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._fd = _open(Path(path))
        except OSError as error:
            raise RecordError(f"cannot open the record file: {error.strerror}") from error

    def write(self, decision: Decision, text: str) -> None:
        """Append one record.

        Raises:
            RecordError: the file is closed or cannot be written.
        """
        record = Record.of(decision, tokens=self._include_tokens, text=text if self._include_text else None)
        line = (record.to_json() + "\n").encode()
        with self._lock:
            if self._fd < 0:
                raise RecordError("the record file is closed")
            try:
                with _alone(self._fd):
                    left = memoryview(b"\n" + line if _is_torn(self._fd) else line)
                    while left:
                        left = left[os.write(self._fd, left) :]
                if self._sync and decision.stopped:
                    _force_to_disk(self._fd)
            except OSError as error:
                raise RecordError(f"cannot write the record: {error.strerror}") from error

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: Path) -> int:
    """Open for appending, and a plain file for reading too if allowed: before each record its end is looked at."""
    how = os.O_APPEND | os.O_CREAT
    if path.is_file() or not path.exists():
        with suppress(PermissionError):
            return os.open(path, how | os.O_RDWR, 0o600)
    return os.open(path, how | os.O_WRONLY, 0o600)


@contextmanager
def _alone(fd: int) -> Iterator[None]:
    """Keep other processes' sinks off the file; a file system without locks, or Windows, goes on without."""
    if sys.platform == "win32":
        yield
        return
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)


def _is_torn(fd: int) -> bool:
    """Whether the last line has no end: its writer died inside it. What cannot be read back is taken to be whole."""
    try:
        size = os.lseek(fd, 0, os.SEEK_END)
        if not size:
            return False
        os.lseek(fd, -1, os.SEEK_END)
        return os.read(fd, 1) != b"\n"
    except OSError:
        return False


def _force_to_disk(fd: int) -> None:
    """Wait until what was written would survive a crash; a pipe or a terminal has no disk."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise

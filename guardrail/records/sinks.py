"""Sinks that need nothing but the standard library: memory and JSON lines."""

import os
import threading
from collections import deque
from pathlib import Path
from typing import Self

from guardrail.decision import Decision
from guardrail.errors import RecordError
from guardrail.records.record import Record


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
    record is one appending write.

    A stop is also forced to the disk before its call returns (`durability="sync"`), so that an acknowledged stop
    survives a crash of the machine; `"batch"` leaves that to the operating system and may lose its last seconds. A line
    that a full disk or a killed writer left unfinished is ended before the next record: that one fragment is lost, not
    the record behind it.
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
            self._is_torn = _is_torn(Path(path))
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
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
            left = memoryview(b"\n" + line if self._is_torn else line)
            try:
                while left:
                    n_written = os.write(self._fd, left)
                    left = left[n_written:]
                    self._is_torn = bool(left)
                if self._sync and decision.stopped:
                    os.fsync(self._fd)
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


def _is_torn(path: Path) -> bool:
    """Whether the last line has no end: its writer died inside it. A file that may not be read is taken to be whole."""
    if not path.is_file() or not path.stat().st_size or not os.access(path, os.R_OK):
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"

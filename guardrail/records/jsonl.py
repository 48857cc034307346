"""Records as JSON lines: one file, or a row of files that are rotated by size; several processes may share it."""

import errno
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from guardrail.errors import RecordError
from guardrail.records.locking import force_folder, force_to_disk, locked
from guardrail.records.record import Record

_log = logging.getLogger("guardrail")


class JsonlStore:
    """Appends one JSON line a record, each batch by one appending write, under a lock of the file where the system has
    them. Rotated files stand beside it as `NAME.1`, `NAME.2`, ..., the higher the younger.

    A line that a killed writer, this one or another, left unfinished is ended before the next record: that one fragment
    is lost, not the record behind it. What a failed call has written is taken back. Where that cannot be (no lock, or a
    file that may only grow), whole lines stay and are not written again: the next call only forces them to the disk.
    """

    def __init__(self, path: str | Path, *, max_bytes: int | None = None, max_files: int | None = None) -> None:
        """Open the file for appending, making its folder if needed.

        Args:
            path: the file.
            max_bytes: size from which a new file is begun; None never does.
            max_files: rotated files that are kept, the youngest; None keeps all. Every `NAME.NUMBER` counts as one.

        Raises:
            RecordError: the file cannot be opened, or a bound is below 1.
        """
        if min(1 if max_bytes is None else max_bytes, 1 if max_files is None else max_files) < 1:
            raise RecordError("max_bytes and max_files must be at least 1, or None")
        self._path, self._max_bytes, self._max_files = Path(path), max_bytes, max_files
        self._fd, self._pid = -1, os.getpid()
        self._is_in_folder = self._cannot_rotate = False
        self._n_written = 0
        self._standing: set[str] = set()
        try:
            self._open()
        except OSError as error:
            raise RecordError(f"cannot open the record file {self._path.name}: {error.strerror}") from error

    def append(self, records: Sequence[Record], *, sync: bool) -> None:
        """Append records; what a full disk cut off is taken back, and written again by the next call.

        Raises:
            RecordError: the file cannot be written, or the store is closed.
        """
        if self._fd < 0:
            raise RecordError("the store is closed")
        lines = [(record.id, record.to_json().encode() + b"\n") for record in records]
        try:
            with self._alone() as is_locked:
                self._append([line for line in lines if line[0] not in self._standing], sync, is_locked)
        except OSError as error:
            is_for_good = error.errno == errno.EPIPE  # nobody reads the pipe any more
            raise RecordError(f"cannot write the record: {error.strerror}", retryable=not is_for_good) from error

    def _append(self, lines: Sequence[tuple[str, bytes]], sync: bool, is_locked: bool) -> None:
        """Write lines, each with its record's id, or take them back; those that cannot be are remembered."""
        start, self._n_written = os.fstat(self._fd).st_size, 0
        end = b"\n" if lines and _is_torn(self._fd) else b""
        try:
            self._write(end + b"".join(line for _, line in lines))
            if sync:
                self._force_to_disk()
        except BaseException:
            if not (is_locked and _cut(self._fd, start)):  # without a lock what others appended would go too
                self._remember(lines, self._n_written - len(end))
            raise
        self._standing.clear()

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            n = os.write(self._fd, left)
            left = left[n:]
            self._n_written += n

    def _remember(self, lines: Sequence[tuple[str, bytes]], n_bytes: int) -> None:
        """Remember the lines that stand whole in the file, whose first bytes have been written."""
        for name, line in lines:
            n_bytes -= len(line)
            if n_bytes < 0:
                return
            self._standing.add(name)

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd, self._pid = _open(self._path), os.getpid()
        self._is_in_folder = False

    def _reopen(self) -> None:
        """Begin anew with the file that stands there now, or with none; what was left in the old one is forced to the
        disk, or else written again.
        """
        old = self._fd
        if self._standing:
            try:
                force_to_disk(old)
            except OSError:
                self._standing.clear()
        self._open()
        os.close(old)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Hold the file that is to be written, rotated if it is time, and keep other processes' stores off it; yields
        whether that worked.
        """
        if os.getpid() != self._pid:
            self._reopen()  # a forked child would share its parent's lock
        while True:
            with locked(self._fd) as is_locked:
                if not self._is_replaced() and not (self._is_full and self._rotate()):
                    yield is_locked
                    return
            self._reopen()  # after the lock is given back: its number may be another file's from then on

    def _is_replaced(self) -> bool:
        """Whether another process has rotated the file, or somebody removed it; a pipe stays what it is."""
        try:
            there, ours = self._path.stat(), os.fstat(self._fd)
        except FileNotFoundError:
            return True
        return (there.st_ino, there.st_dev) != (ours.st_ino, ours.st_dev)

    @property
    def _is_full(self) -> bool:
        return self._max_bytes is not None and os.fstat(self._fd).st_size >= self._max_bytes

    def _rotate(self) -> bool:
        """Move the full file aside, under the next number; the lock is held. Return whether that worked: else the file
        grows on, which costs no record.
        """
        try:
            rotated = rotated_files(self._path)
            number = _number(rotated[-1]) + 1 if rotated else 1
            self._path.rename(self._path.with_name(f"{self._path.name}.{number}"))
            n_too_many = 0 if self._max_files is None else max(0, len(rotated) + 1 - self._max_files)
            for old in rotated[:n_too_many]:
                old.unlink(missing_ok=True)
        except OSError as error:
            if not self._cannot_rotate:
                _log.error("the record file cannot be rotated, and grows on: %s", error.strerror)
            self._cannot_rotate = True
            return not self._path.exists()
        self._cannot_rotate = False
        return True

    def _force_to_disk(self) -> None:
        """Wait until what was written would survive a crash; at first, that the file stands in its folder, too."""
        force_to_disk(self._fd)
        if not self._is_in_folder:
            with suppress(OSError):  # a folder that may not be read, or whose file system has no such call
                force_folder(self._path.parent)
        self._is_in_folder = True


def rotated_files(path: Path) -> list[Path]:
    """Return the rotated files of a record file, oldest first."""
    try:
        names = [one.name for one in path.parent.iterdir()]
    except OSError:
        return []
    ends = (name.removeprefix(f"{path.name}.") for name in names if name.startswith(f"{path.name}."))
    return [path.with_name(f"{path.name}.{n}") for n in sorted(int(end) for end in ends if _is_number(end))]


def _is_number(end: str) -> bool:
    return end.isascii() and end.isdecimal() and end[0] != "0"


def _number(path: Path) -> int:
    return int(path.suffix[1:])


def _open(path: Path) -> int:
    """Open for appending, and a plain file for reading too if allowed: before each record its end is looked at."""
    how = os.O_APPEND | os.O_CREAT
    if path.is_file() or not path.exists():
        with suppress(PermissionError):
            return os.open(path, how | os.O_RDWR, 0o600)
    return os.open(path, how | os.O_WRONLY, 0o600)


def _cut(fd: int, size: int) -> bool:
    """Shorten a file; return whether that was possible."""
    try:
        os.ftruncate(fd, size)
    except OSError:
        return False
    return True


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

"""Records as JSON lines: one file, or a row of files that are rotated by size; several processes may share it."""

import errno
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from guardrail.errors import RecordError
from guardrail.records.record import Record

if sys.platform != "win32":
    import fcntl

_log = logging.getLogger("guardrail")


class JsonlStore:
    """Appends one JSON line a record, each batch by one appending write, under a lock of the file where the system has
    them. Rotated files stand beside it as `NAME.1`, `NAME.2`, ..., the higher the younger.

    A line that a killed writer, this one or another, left unfinished is ended before the next record: that one fragment
    is lost, not the record behind it.
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
        try:
            self._open()
        except OSError as error:
            raise RecordError(f"cannot open the record file: {error.strerror}") from error

    def append(self, records: Sequence[Record], *, sync: bool) -> None:
        """Append records; what a full disk cut off is taken back, and written again by the next call.

        Raises:
            RecordError: the file cannot be written.
        """
        lines = b"".join(record.to_json().encode() + b"\n" for record in records)
        try:
            with self._alone() as is_locked:
                start = os.fstat(self._fd).st_size
                try:
                    _write(self._fd, b"\n" + lines if _is_torn(self._fd) else lines)
                    if sync:
                        self._force_to_disk()
                except OSError:
                    if is_locked:  # else what others have appended meanwhile would go too
                        with suppress(OSError):
                            os.ftruncate(self._fd, start)
                    raise
        except OSError as error:
            is_for_good = error.errno == errno.EPIPE  # nobody reads the pipe any more
            raise RecordError(f"cannot write the record: {error.strerror}", retryable=not is_for_good) from error

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
        old = self._fd
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
            with _locked(self._fd) as is_locked:
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
        _force_to_disk(self._fd)
        if not self._is_in_folder and sys.platform != "win32":
            with suppress(OSError):  # a folder that may not be read, or whose file system has no such call
                folder = os.open(self._path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
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


@contextmanager
def _locked(fd: int) -> Iterator[bool]:
    """Hold the file's lock; yields whether there is one: some file systems have none, and Windows goes on without."""
    if sys.platform == "win32":
        yield False
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        is_locked = True
    except OSError:
        is_locked = False
    try:
        yield is_locked
    finally:
        if is_locked:
            fcntl.flock(fd, fcntl.LOCK_UN)


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


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

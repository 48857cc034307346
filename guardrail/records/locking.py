"""What files of records ask of the system: a lock that keeps others off, and what is written forced to the disk."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def locked(fd: int) -> Iterator[bool]:
    """Hold a file's lock; yields whether there is one: some file systems have none, nor has Windows."""
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


def force_to_disk(fd: int) -> None:
    """Wait until what was written would survive a crash; a pipe or a terminal has no disk.

    Raises:
        OSError: it could not be written.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def force_folder(path: Path) -> None:
    """Wait until the names in a folder would survive a crash; Windows has no such call.

    Raises:
        OSError: the folder may not be read, or its file system has no such call.
    """
    if sys.platform == "win32":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

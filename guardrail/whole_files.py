"""Files and folders that are there whole or not at all, whoever is killed while they are written."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, even after a loss of power."""
    make_whole(path, lambda unfinished: unfinished.write_bytes(data))


def make_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a file under another name, then give it its own.

    Raises:
        OSError: it cannot be written; the file is named also where the system does not, as on a full disk.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        write(unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write into, which then takes the place of `folder`.

    A kill leaves the old one, the new one or none, but no mixture; an error while it is written leaves the old one.
    """
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    yield unfinished
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)

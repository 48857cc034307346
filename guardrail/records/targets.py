"""Files that are written from records: whole or not at all, and never in the place of what is read."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from guardrail.errors import RecordError
from guardrail.records.jsonl import rotated_files

_BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite writes beside its file."""

_PART = re.compile(r"|\.\d+|" + "|".join(_BESIDE))
"""What stands behind a store's name in the names of its files: those of today, and those that may come."""


def refuse_source(target: Path, store: str | Path, *others: Path) -> None:
    """Return if a file may be written; nothing that is read would be lost.

    Args:
        target: the file.
        store: is read: a file, or a database's URL.
        others: files that are read too.

    Raises:
        RecordError: the file is the store, one of its rotated files, or what SQLite keeps beside it, by its name or
            through a link; or one of the others.
    """
    path = _file_of(store)
    read = [*others, *(_files(path) if path else [])]
    if (path and _is_part(target, path)) or any(_is_same(target, one) for one in read):
        raise RecordError(f"{target.name} is what is read, and would be lost", hint="name another file")


def _file_of(store: str | Path) -> Path | None:
    """Return a store's file; None for a server."""
    if isinstance(store, Path) or "://" not in store:
        return Path(store)
    from guardrail.records.sql.connecting import Database

    return Database.of(store).path


def _files(path: Path) -> list[Path]:
    return [path, *rotated_files(path), *(path.with_name(path.name + end) for end in _BESIDE)]


def _is_part(target: Path, path: Path) -> bool:
    """Whether a file is a store's by its name, also where there is none yet."""
    return any(
        one.parent == other.parent
        and one.name.startswith(other.name)
        and _PART.fullmatch(one.name[len(other.name) :]) is not None
        for one in _places(target)
        for other in _places(path)
    )


def _places(path: Path) -> tuple[Path, Path]:
    """Return where a file stands, and where it lies if that is a link."""
    return path.parent.resolve() / path.name, path.resolve()


def _is_same(target: Path, other: Path) -> bool:
    with suppress(OSError):
        return target.samefile(other)
    return not set(_places(target)).isdisjoint(_places(other))  # one of them is not there yet


@contextmanager
def whole(target: Path, *, is_private: bool = True) -> Iterator[Path]:
    """Give a file to write, which takes the target's place once that is done and on the disk, and else is gone. A pipe
    or a device is given as it is.

    Args:
        target: a file that exists is replaced; a link to it stays one.
        is_private: whether it is its owner's alone (mode 600), as what tells of conversations must be.

    Raises:
        RecordError: it cannot be written.
    """
    if target.exists() and not (target.is_file() or target.is_dir()):
        yield target
        return
    try:
        if target.is_dir():
            raise RecordError(f"{target.name} is a folder", hint="name a file")
        with _unfinished(target.resolve(), 0o600 if is_private else 0o666) as path:
            yield path
    except OSError as error:
        raise RecordError(f"cannot write {target.name}: {error.strerror or type(error).__name__}") from error


@contextmanager
def _unfinished(target: Path, mode: int) -> Iterator[Path]:
    path = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield path
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        path.replace(target)
    finally:
        path.unlink(missing_ok=True)

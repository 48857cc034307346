"""Records that are too old to be kept, taken out of a store for good while writers go on."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from guardrail.errors import RecordError
from guardrail.records.jsonl import rotated_files
from guardrail.records.locking import force_folder, locked
from guardrail.records.reading import MAX_LINE_BYTES, Span, database_url, moment, store_kind


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was taken out.

    Attributes:
        n_records: how many.
        n_bytes: by which its files have shrunk; None for a server's.
        n_unreadable: lines that say no time, and were left.
        is_gone: whether nothing of it is left in its files. It is, in a SQLite file and its log, if the file was read
            all the while: pruning once more, when nobody reads, takes it out.
    """

    n_records: int
    n_bytes: int | None
    n_unreadable: int = 0
    is_gone: bool = True


def prune_records(
    source: str | Path, span: Span, *, dry_run: bool = False, advance: Callable[[int], None] = lambda _: None
) -> Pruned:
    """Delete records. A writer of the same store goes on meanwhile, and loses nothing.

    Rotated files of which nothing is left are removed, other files of JSON lines are written anew. What is in a SQLite
    file is overwritten once nobody reads it, and the file shrinks; PostgreSQL's own vacuum frees its space.

    Args:
        source: as `read_records` takes it.
        span: which records: it needs an end.
        dry_run: only count them.
        advance: is told how many more were looked at, or deleted.

    Raises:
        RecordError: there is no such store, it fails, or the span has no end.
    """
    if span.until is None:
        raise RecordError("all records would be deleted", hint="say until when")
    if store_kind(source) == "jsonl":
        return _prune_files(Path(source), span, dry_run, advance)
    from guardrail.records.sql import count_rows, delete_rows, files_of

    url = database_url(source)
    files = files_of(url)
    before = _size(files)
    n, is_gone = (count_rows(url, span), True) if dry_run else delete_rows(url, span, advance)
    n_bytes = max(0, before - _size(files)) if files else None  # writers, and a log that is read, may let it grow
    return Pruned(n, n_bytes, is_gone=is_gone)


def _size(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.exists())


def _prune_files(path: Path, span: Span, dry_run: bool, advance: Callable[[int], None]) -> Pruned:
    files = [*rotated_files(path), *([path] if path.is_file() else [])]
    if not files:
        raise RecordError(f"there is no record file {path.name}")
    n_records = n_bytes = n_unreadable = 0
    try:
        for file in files:
            with _Sieve(file, span, advance) as sieve:
                sieve.sift()
                if sieve.n_records and not dry_run:
                    n_bytes += sieve.take_place(may_vanish=file != path)
            n_records, n_unreadable = n_records + sieve.n_records, n_unreadable + sieve.n_unreadable
    except OSError as error:
        raise RecordError(f"cannot prune {path.name}: {error.strerror}") from error
    return Pruned(n_records, n_bytes, n_unreadable)


class _Sieve:
    """Copies what is left of one file, and puts the copy into its place. Its writer is kept waiting only while what it
    has written meanwhile is copied.

    Attributes:
        n_records: that fell through.
        n_unreadable: lines that say no time.
    """

    def __init__(self, path: Path, span: Span, advance: Callable[[int], None]) -> None:
        self.n_records = self.n_unreadable = 0
        self._path, self._span, self._advance = path, span, advance

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            try:
                self._file = stack.enter_context(self._path.open("rb"))
            except FileNotFoundError:
                raise self._moved() from None
            handle, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.absolute().parent)
            self._copy, self._copy_path = stack.enter_context(os.fdopen(handle, "wb")), Path(name)
            stack.callback(self._copy_path.unlink, missing_ok=True)
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def sift(self) -> None:
        """Copy what is to be kept of what stands there now.

        Raises:
            OSError: the file cannot be read, or the copy not written.
        """
        with _held(self._file):  # no batch is half written now, and what is whole stays
            end = os.fstat(self._file.fileno()).st_size
        self._pass(end)

    def take_place(self, *, may_vanish: bool) -> int:
        """Put the copy into the file's place; return by how many bytes it is smaller.

        Args:
            may_vanish: whether the file goes if nothing is left of it.

        Raises:
            RecordError: the file was rotated or replaced meanwhile.
            OSError: the copy cannot be written.
        """
        with _held(self._file):
            self._check_place()
            before = os.fstat(self._file.fileno()).st_size
            self._pass(before)
            if may_vanish and not self._copy.tell():
                self._path.unlink()
            else:
                self._finish()
                self._copy_path.replace(self._path)
            force_folder(self._path.absolute().parent)
        return before - self._copy.tell()

    def _pass(self, end: int) -> None:
        """Copy what is to be kept of what is left up to `end`."""
        while (left := end - self._file.tell()) > 0:
            line = self._file.readline(min(left, MAX_LINE_BYTES))
            self._advance(1)
            if self._is_meant(line):
                self.n_records += 1
            else:
                self._copy.write(line)

    def _is_meant(self, line: bytes) -> bool:
        """Whether a line falls through. Of records of any version the time is enough."""
        try:
            values = json.loads(line)
            time, tenant = moment(values["time"]), values.get("tenant")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, RecordError):
            self.n_unreadable += not line.isspace()
            return False
        return self._span.includes(time) and self._span.is_of(tenant)

    def _check_place(self) -> None:
        ours = os.fstat(self._file.fileno())
        try:
            there = self._path.stat()
        except FileNotFoundError:
            there = None
        if there is None or (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino):
            raise self._moved()

    def _moved(self) -> RecordError:
        what = f"{self._path.name} was moved away meanwhile: nothing of it was deleted"
        return RecordError(what, hint="try again", retryable=True)

    def _finish(self) -> None:
        """Let the copy be what the file was, and force it to the disk."""
        there = os.fstat(self._file.fileno())
        os.fchmod(self._copy.fileno(), there.st_mode & 0o7777)
        if os.geteuid() == 0:
            os.fchown(self._copy.fileno(), there.st_uid, there.st_gid)
        self._copy.flush()
        os.fsync(self._copy.fileno())


@contextmanager
def _held(file: BinaryIO) -> Iterator[None]:
    """Keep writers off a file.

    Raises:
        RecordError: there are no locks here.
    """
    with locked(file.fileno()) as is_locked:
        if not is_locked:
            raise RecordError(
                "files of JSON lines cannot be pruned where the system has no locks: writers may be at them"
            )
        yield

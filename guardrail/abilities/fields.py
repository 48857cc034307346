"""Published files of questions, line by line: from this machine, or from the hub at a pinned commit."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from guardrail.abilities.settings import Source
from guardrail.errors import ConfigurationError
from guardrail.evaluation.rows import read_entries
from guardrail.file_hash import hash_file

T = TypeVar("T")

_COMMIT = re.compile(r"[0-9a-f]{40}")
_CSV_BYTES = 2**24
"""Most bytes of one cell of a CSV file. Ours."""


@dataclass(frozen=True, slots=True)
class Read(Generic[T]):
    """Questions, and where they are from.

    Attributes:
        questions: in the order of the files.
        info: files with their hashes, the revision, and the number of questions.
        rows: the entries that they were made of.
    """

    questions: tuple[T, ...]
    info: dict[str, Any]
    rows: tuple[Mapping[str, Any], ...] = ()


def read(source: Source, hub_id: str, hub_files: Sequence[str], make: Callable[[Mapping[str, Any], int], T]) -> Read[T]:
    """Return the questions of a task.

    Args:
        source: where they are.
        hub_id: of the published data set.
        hub_files: of it, when there are no local ones.
        make: makes a question of an entry and its number, from 0; raises ValueError at a bad one.

    Raises:
        ConfigurationError: a file is missing, an entry does not follow the schema, or two questions have one id.
    """
    paths = source.paths or _download(hub_id, hub_files, source.revision)
    entries = [(path, place, values) for path in paths for place, values in _entries(path)][: source.limit or None]
    questions = []
    for index, (path, place, values) in enumerate(entries):
        try:
            questions.append(make(values, index))
        except ValueError as error:
            raise ConfigurationError(f"{path.name}, entry {place}: {error}") from error
    if not questions:
        raise ConfigurationError(f"{paths[0].name} holds no question")
    ids = [getattr(one, "id", "") for one in questions]
    if len({*ids}) != len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise ConfigurationError(f"{paths[0].name}: two questions have the id {twice[:60]!r}")
    files = {path.name: hash_file(path) for path in paths}
    info = {"files": files, "n": len(questions), "limit": source.limit}
    where = {} if source.paths else {"hub": f"{hub_id}@{source.revision}"}
    return Read(tuple(questions), {**where, **info}, tuple(values for _, _, values in entries))


def text_of(values: Mapping[str, Any], name: str) -> str:
    """Return a field that must hold text.

    Raises:
        ValueError: it does not.
    """
    found = values.get(name)
    if not isinstance(found, str) or not found.strip():
        raise ValueError(f"{name}: no text; there are: {', '.join(sorted(map(str, values)))[:200]}")
    return found


def _entries(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}")
    if path.suffix == ".csv":
        csv.field_size_limit(_CSV_BYTES)
        with path.open(encoding="utf-8", newline="") as file:
            yield from enumerate(csv.DictReader(file), 1)
        return
    for place, entry in read_entries(path):
        values = json.loads(entry) if isinstance(entry, bytes) else entry
        if not isinstance(values, Mapping):
            raise ConfigurationError(f"{path.name}, entry {place}: no JSON object")
        yield place, values


def _download(hub_id: str, files: Sequence[str], revision: str) -> tuple[Path, ...]:
    if not _COMMIT.fullmatch(revision):
        raise ConfigurationError(
            f"{hub_id} needs `paths` of local files, or `revision`, the commit of the data set on the hub",
            hint="40 hex digits, from the history of its files; a branch would not give the same questions next year",
        )
    from guardrail.abilities.hub import download

    return tuple(download(hub_id, name, revision) for name in files)

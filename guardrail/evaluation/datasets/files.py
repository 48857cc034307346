"""Finds the published files of a benchmark: the one that was named, or those in a folder."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from guardrail.errors import ConfigurationError
from guardrail.evaluation.datasets.dataset import Dataset

_PART = re.compile(r"-(\d+)-of-(\d+)\.")
"""How the hub numbers the parts of a file, from 0."""


def find_files(dataset: Dataset, path: Path) -> tuple[list[Path], Path | None]:
    """Return the files to read, and the companion when a folder holds it.

    A folder is searched for the published path, then for its name anywhere below.

    Raises:
        ConfigurationError: there is no such file or folder, or the folder holds none of the files, copies of one, or
            some of several parts.
    """
    if path.is_file():
        return [path], None
    if not path.is_dir():
        raise ConfigurationError(f"{dataset.name}: no file or folder {path}", hint=where_from(dataset))
    found = (_search(path, pattern) for pattern in (dataset.files, *dataset.other_files))
    files = next((some for some in found if some), [])
    if not files:
        raise ConfigurationError(f"{dataset.name}: {path} holds no {dataset.files}", hint=where_from(dataset))
    names = [file.name for file in files]
    if copied := next((name for name in names if names.count(name) > 1), ""):
        raise ConfigurationError(f"{dataset.name}: {path} holds {names.count(copied)} files {copied}", hint="name one")
    if missing := _missing_parts(files):
        raise ConfigurationError(f"{dataset.name}: {path} lacks {missing} parts of its files", hint=where_from(dataset))
    beside = _search(path, dataset.companion) if dataset.companion else []
    return files, beside[0] if beside else None


def has_files(dataset: Dataset, folder: Path) -> bool:
    """Return whether a folder holds the published file, with all its parts; not whether another release of it."""
    files = _search(folder, dataset.files)
    return bool(files) and not _missing_parts(files)


def _missing_parts(files: Sequence[Path]) -> int:
    """Return how many parts are not there, of files that the hub has cut: an interrupted download leaves some."""
    parts = [(int(found[1]), int(found[2])) for file in files if (found := _PART.search(file.name))]
    return max((n for _, n in parts), default=0) - len(parts)


def where_from(dataset: Dataset) -> str:
    """Return what to fetch, from where, and how to name it."""
    at = f"of {dataset.hub_id} at {dataset.revision} on the hub" if dataset.hub_id else f"from {dataset.url}"
    gate = ", which asks for an account that accepted its conditions," if dataset.is_gated else ""
    return f"fetch {dataset.files} {at}{gate} and name it: {dataset.name}=PATH, a file or a folder that holds it"


def _search(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a pattern with folders, or else of its last part anywhere below, in order of their paths."""
    exact = sorted(file for file in folder.glob(pattern) if file.is_file())
    return exact or sorted(file for file in folder.rglob(PurePosixPath(pattern).name) if file.is_file())

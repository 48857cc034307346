"""Finds the published files of a benchmark: the one that was named, or those in a folder."""

from pathlib import Path, PurePosixPath

from guardrail.errors import ConfigurationError
from guardrail.evaluation.datasets.dataset import Dataset


def find_files(dataset: Dataset, path: Path) -> tuple[list[Path], Path | None]:
    """Return the files to read, and the companion when a folder holds it.

    A folder is searched for the published path, then for its name anywhere below.

    Raises:
        ConfigurationError: there is no such file or folder, or the folder holds none of the files, or copies of one.
    """
    if path.is_file():
        return [path], None
    if not path.is_dir():
        raise ConfigurationError(f"{dataset.name}: no file or folder {path}", hint=where_from(dataset))
    found = (_search(path, pattern) for pattern in (dataset.files, *dataset.other_files))
    files = next((some for some in found if some), [])
    if not files:
        raise ConfigurationError(f"{dataset.name}: {path} holds no {dataset.files}", hint=where_from(dataset))
    if len(files) > 1 and not any("*" in pattern for pattern in (dataset.files, *dataset.other_files)):
        raise ConfigurationError(f"{dataset.name}: {path} holds {len(files)} files {files[0].name}", hint="name one")
    beside = _search(path, dataset.companion) if dataset.companion else []
    return files, beside[0] if beside else None


def has_files(dataset: Dataset, folder: Path) -> bool:
    """Return whether a folder holds the published file; not whether another release of it."""
    return bool(_search(folder, dataset.files))


def where_from(dataset: Dataset) -> str:
    """Return what to fetch, from where, and how to name it."""
    at = f"of {dataset.hub_id} at {dataset.revision} on the hub" if dataset.hub_id else f"from {dataset.url}"
    gate = ", which asks for an account that accepted its conditions," if dataset.is_gated else ""
    return f"fetch {dataset.files} {at}{gate} and name it: {dataset.name}=PATH, a file or a folder that holds it"


def _search(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a pattern with folders, or else of its last part anywhere below, in order of their paths."""
    exact = sorted(file for file in folder.glob(pattern) if file.is_file())
    return exact or sorted(file for file in folder.rglob(PurePosixPath(pattern).name) if file.is_file())

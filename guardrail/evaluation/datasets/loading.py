"""Rows of a public benchmark, streamed from its published files."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from guardrail.errors import ConfigurationError
from guardrail.evaluation.datasets.catalogue import DATASETS
from guardrail.evaluation.datasets.dataset import Dataset, Reader
from guardrail.evaluation.datasets.entries import Entry, read_entries
from guardrail.evaluation.datasets.fields import Fields
from guardrail.evaluation.datasets.files import find_files
from guardrail.evaluation.rows import Row, Tally

_SEED = 42
"""Of the sample of pairs; the WildGuard evaluation's."""


def load_dataset(
    name: str, path: Path | None = None, tally: Tally | None = None, *, skip_bad: bool = False
) -> Iterator[Row]:
    """Yield the labelled rows of a benchmark, one file open at a time.

    A row's `source` is the name, and its `id` says the entry by its position in the file: the same in every format and
    at every reading. Entries that are no part of what is measured are passed over; what has no label or no text is
    counted as unlabelled and left out.

    Args:
        name: one of `DATASETS`.
        path: the published file, or a folder that holds it; None takes it from the hub.
        tally: takes the counts; its lines are the entries met.
        skip_bad: count entries that do not follow the published schema and go on.

    Raises:
        ConfigurationError: no such set or file, the hub does not give it, a file is damaged, or an entry does not
            follow the schema (named by file, line and column, without its text).
        MissingExtra: a Parquet file or the hub needs an extra.
    """
    if name not in DATASETS:
        raise ConfigurationError(f"no dataset {name!r}; there are: {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    files, companion = find_files(dataset, path or _download(dataset))
    read = dataset.read
    if companion and dataset.read_with:
        read = dataset.read_with(read_entries(companion))
    return _rows(dataset, files, read, tally or Tally(), skip_bad=skip_bad)


def _download(dataset: Dataset) -> Path:
    from guardrail.evaluation.datasets.hub import download

    return download(dataset)


def _rows(dataset: Dataset, files: list[Path], read: Reader, tally: Tally, *, skip_bad: bool) -> Iterator[Row]:
    chosen = _sample(dataset.n_pairs, files, read) if dataset.n_pairs else None
    for file, entry in _entries(files):
        tally.n_lines += 1
        try:
            found = read(Fields(entry.values()))
        except ValueError as error:
            tally.refuse(f"{file.name}, {entry.place}: {error}", skip_bad=skip_bad)
            continue
        if chosen is not None and found and (file, entry.index) not in chosen:
            continue
        key = f"{dataset.name}/{file.name.split('.')[0]}" if len(files) > 1 else dataset.name
        for row in found:
            if row is None:
                tally.n_unlabelled += 1
            else:
                yield replace(row, id=f"{key}/{entry.index}{row.id}", source=dataset.name)


def _sample(n_pairs: int, files: list[Path], read: Reader) -> set[tuple[Path, int]]:
    """Return which entries with rows are taken: a seeded sample, in a reading of its own that keeps places only."""
    places = [(file, entry.index) for file, entry in _entries(files) if _has_rows(read, entry)]
    if len(places) <= n_pairs:
        return set(places)
    return {places[i] for i in random.Random(_SEED).sample(range(len(places)), n_pairs)}


def _has_rows(read: Reader, entry: Entry) -> bool:
    try:
        return bool(read(Fields(entry.values())))
    except ValueError:  # told when it is read again
        return False


def _entries(files: Iterable[Path]) -> Iterator[tuple[Path, Entry]]:
    for file in files:
        for entry in read_entries(file):
            yield file, entry

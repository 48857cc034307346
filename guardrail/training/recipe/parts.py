"""Rows on the disk, in numbered parts: written in order, read one part at a time."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TypeVar

from guardrail.training.recipe.rows import RecipeRow, counts_of, n_rows_of, read_part, write_part
from guardrail.training.recipe.stage import Rows

T = TypeVar("T")

_TOLD_ROWS = 256


def cut(items: Iterable[T], n: int) -> Iterator[list[T]]:
    """Yield items, n at a time; the last ones may be fewer."""
    rest = iter(items)
    while part := list(islice(rest, n)):
        yield part


def part_path(folder: Path, number: int) -> Path:
    """Return where a part stands; the names of parts are in the order of their numbers."""
    return folder / f"{number:05}.parquet"


def told(rows: Iterable[RecipeRow], tell: Callable[[int], None]) -> Iterator[RecipeRow]:
    """Yield rows, and tell now and then how many more there were."""
    number = 0
    for number, row in enumerate(rows, 1):
        yield row
        if number % _TOLD_ROWS == 0:
            tell(_TOLD_ROWS)
    tell(number % _TOLD_ROWS)


class PartRows:
    """Rows of a sequence of parts; implements `Rows`."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths: Sequence[Path] = tuple(paths)

    def __iter__(self) -> Iterator[RecipeRow]:
        """Yield them in order."""
        for path in self.paths:
            yield from read_part(path)

    def __len__(self) -> int:
        """Return how many there are."""
        return self._n_rows

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """What was counted while they were made."""
        total: Counter[str] = Counter()
        for path in self.paths:
            total.update(counts_of(path))
        return dict(sorted(total.items()))

    @cached_property
    def _n_rows(self) -> int:
        return sum(map(n_rows_of, self.paths))


class FirstRows:
    """The first rows of others; implements `Rows`."""

    def __init__(self, rows: Rows, n_rows: int) -> None:
        self._rows = rows
        self._n_rows = min(n_rows, len(rows))
        self.counts = rows.counts

    def __iter__(self) -> Iterator[RecipeRow]:
        """Yield them in order."""
        return islice(self._rows, self._n_rows)

    def __len__(self) -> int:
        """Return how many there are."""
        return self._n_rows


def rows_of(folder: Path, names: Iterable[str]) -> PartRows:
    """Return the rows of parts that are known by name."""
    return PartRows(folder / name for name in names)


def rows_in(folder: Path) -> PartRows:
    """Return the rows of all parts that a folder holds now, whichever should be there."""
    return PartRows(sorted(folder.glob("[0-9]*.parquet")))


def write_parts(
    folder: Path, rows: Iterable[RecipeRow], part_rows: int, counts: Mapping[str, int] | None = None
) -> PartRows:
    """Write rows as parts, one part in memory at a time; parts of an earlier start give way.

    Args:
        folder: of the parts; made if need be.
        rows: in order.
        part_rows: rows of a part; the last one may be shorter.
        counts: what was counted; read when the rows have ended, so that it may grow until then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held: list[RecipeRow] = []
    paths: list[Path] = []
    for row in rows:
        if len(held) == part_rows:
            paths.append(part_path(folder, len(paths)))
            write_part(paths[-1], held)
            held = []
        held.append(row)
    paths.append(part_path(folder, len(paths)))  # there is one even when there are no rows: it holds the counts
    write_part(paths[-1], held, counts)
    for path in set(folder.glob("[0-9]*.parquet")) - set(paths):
        path.unlink()
    return PartRows(paths)

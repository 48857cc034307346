"""A job for tests of stages: rows in memory, parts in a folder, work done in order, a scripted model."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from guardrail.training.recipe.calls import Ask
from guardrail.training.recipe.parts import PartRows, cut, part_path, write_parts
from guardrail.training.recipe.rows import RecipeRow, write_part
from guardrail.training.recipe.stage import OUTPUT, Made, Work

T = TypeVar("T")
PART_ROWS = 10


class MemoryJob:
    """Implements `Job`. A second job on the same folder goes on with the parts that the first one finished.

    Attributes:
        seed: of the recipe.
        folder: of the stage.
        rows: the input.
        limit: as given; it cuts nothing here.
    """

    def __init__(
        self,
        rows: Iterable[RecipeRow],
        folder: Path,
        ask: Ask,
        *,
        seed: int = 1,
        limit: int | None = None,
    ) -> None:
        self.seed, self.folder, self.limit = seed, folder, limit
        self.rows = write_parts(folder / "input", rows, PART_ROWS)
        self._ask = ask

    @property
    def output(self) -> list[RecipeRow]:
        """The rows that the stage handed on."""
        return list(PartRows(sorted((self.folder / OUTPUT).glob("*.parquet"))))

    def map(self, step: str, items: Iterable[T], work: "Work[T]", *, n_items: int) -> PartRows:
        """See `Job`."""
        folder = self.folder / OUTPUT if step == OUTPUT else self.folder / "work" / step
        folder.mkdir(parents=True, exist_ok=True)
        paths, n_met = [], 0
        for number, part in enumerate(cut(items, PART_ROWS)):
            n_met += len(part)
            paths.append(part_path(folder, number))
            if not paths[-1].exists():
                made = asyncio.run(_work_on(part, work, self._ask))
                counts: Counter[str] = Counter()
                for one in made:
                    counts.update(one.counts)
                write_part(paths[-1], (row for one in made for row in one.rows), counts)
        assert n_met == n_items, f"{step}: {n_met} items, {n_items} announced"
        return PartRows(paths)

    def write(self, rows: Iterable[RecipeRow], counts: Mapping[str, int] | None = None) -> PartRows:
        """See `Job`."""
        return write_parts(self.folder / OUTPUT, rows, PART_ROWS, counts)

    def progress(self, title: str, n_steps: int) -> Callable[[int], None]:  # noqa: ARG002  # the protocol
        """See `Job`; nothing is shown."""
        return lambda _: None


async def _work_on(items: Iterable[T], work: "Work[T]", ask: Ask) -> list[Made]:
    return [await work(item, ask) for item in items]

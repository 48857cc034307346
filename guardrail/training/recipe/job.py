"""A stage's run on the disk: steps in parts, of which none is made twice."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import TypeVar

from guardrail.training.recipe.bars import Bars
from guardrail.training.recipe.manifest import Plan
from guardrail.training.recipe.notes import Notes
from guardrail.training.recipe.parts import FirstRows, PartRows, cut, part_path, write_parts
from guardrail.training.recipe.rows import RecipeRow, write_part
from guardrail.training.recipe.runner import MadePart, Piece, Runner
from guardrail.training.recipe.stage import OUTPUT, Rows, Work

T = TypeVar("T")

WORK = "work"
"""Folder of the steps whose rows are not handed on."""

_STEP = re.compile(r"[a-z0-9][a-z0-9_-]*")


class StageJob:
    """Implements `Job`. For one thread.

    Attributes:
        seed: of the recipe.
        folder: of the stage.
        rows: the input, cut to `limit`.
        limit: most input rows; None for all.
    """

    rows: Rows

    def __init__(self, plan: Plan, folder: Path, rows: Rows, *, runner: Runner, bars: Bars, notes: Notes) -> None:
        """Set up.

        Args:
            plan: of the stage.
            folder: of the stage.
            rows: all input rows.
            runner: does the work.
            bars: show how far it is.
            notes: keep how far it is.
        """
        self.seed, self.folder, self.limit = plan.seed, folder, plan.limit
        self.rows = rows if plan.limit is None else FirstRows(rows, plan.limit)
        self._part_rows, self._runner, self._bars, self._notes = plan.part_rows, runner, bars, notes

    def map(self, step: str, items: Iterable[T], work: "Work[T]", *, n_items: int) -> PartRows:
        """See `Job`.

        Raises:
            ValueError: there are not as many items as announced, or a step has no proper name.
        """
        folder = self._folder_of(step)
        paths = [part_path(folder, number) for number in range(ceil(n_items / self._part_rows))]
        missing = [number for number, path in enumerate(paths) if not path.exists()]
        if missing:
            folder.mkdir(parents=True, exist_ok=True)
            self._make(step, self._pieces(items, missing, n_items), work, paths, missing, n_items)
        return PartRows(paths)

    def write(self, rows: Iterable[RecipeRow], counts: Mapping[str, int] | None = None) -> PartRows:
        """See `Job`; `counts` may grow until the rows have ended."""
        self._notes.begin(OUTPUT, 0, 0)
        return write_parts(self._folder_of(OUTPUT), rows, self._part_rows, counts)

    def progress(self, title: str, n_steps: int) -> Callable[[int], None]:
        """See `Job`."""
        return self._bars.begin(title, n_steps)

    def _make(
        self,
        step: str,
        pieces: Iterable[Piece[T]],
        work: "Work[T]",
        paths: list[Path],
        missing: list[int],
        n_items: int,
    ) -> None:
        self._notes.begin(step, len(paths) - len(missing), len(paths))
        n_left = sum(self._size(number, n_items) for number in missing)

        def finish(part: MadePart) -> None:
            write_part(paths[part.number], part.rows, part.counts)
            self._notes.part_done()

        self._runner.run(pieces, work, finish, self._bars.begin(step, n_items, n_items - n_left))

    def _pieces(self, items: Iterable[T], missing: list[int], n_items: int) -> Iterator[Piece[T]]:
        """Yield what is left to do; the items of finished parts are passed over."""
        left = set(missing)
        for number, part in enumerate(cut(items, self._part_rows)):
            if number not in left:
                continue
            if len(part) != self._size(number, n_items):
                break
            yield Piece(number, part)
            left.discard(number)
            if not left:
                return
        raise ValueError(f"the step has not the {n_items} items that were announced")

    def _size(self, number: int, n_items: int) -> int:
        """Return how many items a part has."""
        return min(self._part_rows, n_items - number * self._part_rows)

    def _folder_of(self, step: str) -> Path:
        if not _STEP.fullmatch(step):
            raise ValueError(f"{step!r} is no name of a step: small letters, digits, dashes")
        return self.folder / OUTPUT if step == OUTPUT else self.folder / WORK / step

"""Does a stage's work on parts: many rows at once, bounded in memory, results by part.

When a row fails, the other rows are given up and the failure is raised; what becomes of their calls is up to what asks
models.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from guardrail.training.recipe.calls import Ask
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.stage import Made, Work

T = TypeVar("T")

ROWS_AT_ONCE = 256
"""Rows under way at once; what waits for a model waits in its own queue. Our choice."""

_LEAST_PARTS = 2
"""Parts under way at once: while the last rows of one are waited for, those of the next are begun. Our choice."""


@dataclass(frozen=True, slots=True)
class Piece(Generic[T]):
    """Items that make one part.

    Attributes:
        number: of the part.
        items: in order.
    """

    number: int
    items: Sequence[T]


@dataclass(frozen=True, slots=True)
class MadePart:
    """A part, ready to be written.

    Attributes:
        number: of the part.
        rows: in the order of the items.
        counts: sums over the items.
    """

    number: int
    rows: tuple[RecipeRow, ...]
    counts: dict[str, int]

    @classmethod
    def of(cls, number: int, made: Iterable[Made]) -> "MadePart":
        """Join what became of the items."""
        rows: list[RecipeRow] = []
        counts: Counter[str] = Counter()
        for one in made:
            rows.extend(one.rows)
            counts.update(one.counts)
        return cls(number, tuple(rows), dict(counts))


Finish = Callable[[MadePart], None]
"""Is given each part as soon as it is made, in whatever order."""

Advance = Callable[[int], None]
"""Is told how many more items are done."""


class Runner(Protocol):
    """Does work somewhere."""

    def run(self, pieces: "Iterable[Piece[T]]", work: "Work[T]", finish: Finish, advance: Advance) -> None:
        """Do it on all pieces.

        Args:
            pieces: are taken as they are needed.
            work: on an item.
            finish: takes the parts.
            advance: is told how many more items are done.

        Raises:
            EngineError: a model could not be asked.
            BudgetSpent: no more calls are allowed.
        """


class LoopRunner:
    """Does it in this process, for as long as the context lasts: models are opened once, with the first run."""

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[Ask]]) -> None:
        """Set up.

        Args:
            opened: opens what asks models, within the loop.
        """
        self._opened = opened
        self._loop = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._ask: Ask | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the models; what becomes of calls under way depends on the error."""
        with self._loop:
            self._loop.run(self._stack.__aexit__(kind, error, traceback))

    def run(self, pieces: Iterable[Piece[T]], work: Work[T], finish: Finish, advance: Advance) -> None:
        """See `Runner`."""
        self._loop.run(self._run(pieces, work, finish, advance))

    async def _run(self, pieces: Iterable[Piece[T]], work: Work[T], finish: Finish, advance: Advance) -> None:
        if self._ask is None:
            self._ask = await self._stack.enter_async_context(self._opened())
        await work_on(pieces, work, self._ask, finish, advance)


async def work_on(pieces: Iterable[Piece[T]], work: Work[T], ask: Ask, finish: Finish, advance: Advance) -> None:
    """Do work on all pieces, with what asks models; see `Runner`."""
    flow = _Flow(work, ask, finish, advance)
    try:
        async with asyncio.TaskGroup() as tasks:
            await flow.begin(pieces, tasks)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None  # the first one; others failed before they could be given up


class _Flow(Generic[T]):
    """Rows on their way: begun in order, finished part by part."""

    def __init__(self, work: Work[T], ask: Ask, finish: Finish, advance: Advance) -> None:
        self._work, self._ask, self._finish, self._advance = work, ask, finish, advance
        self._free_rows = asyncio.Semaphore(ROWS_AT_ONCE)
        self._free_parts: asyncio.Semaphore | None = None

    async def begin(self, pieces: Iterable[Piece[T]], tasks: asyncio.TaskGroup) -> None:
        """Begin each item as soon as there is room for it."""
        for piece in pieces:
            if self._free_parts is None:  # small parts: as many as it takes to have `ROWS_AT_ONCE` rows
                self._free_parts = asyncio.Semaphore(_LEAST_PARTS + ROWS_AT_ONCE // len(piece.items))
            await self._free_parts.acquire()
            rows = []
            for item in piece.items:
                await self._free_rows.acquire()
                rows.append(tasks.create_task(self._do(item)))
            tasks.create_task(self._end(piece.number, rows, self._free_parts))

    async def _do(self, item: T) -> Made:
        try:
            made = await self._work(item, self._ask)
        finally:
            self._free_rows.release()
        self._advance(1)
        return made

    async def _end(self, number: int, rows: Sequence[asyncio.Task[Made]], free_parts: asyncio.Semaphore) -> None:
        self._finish(MadePart.of(number, [await row for row in rows]))
        free_parts.release()

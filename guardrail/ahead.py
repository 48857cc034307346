"""Asks an LLM's stream for its next item while the guard works on one, so that what has arrived is read in one call."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

_log = logging.getLogger("guardrail")

T = TypeVar("T")

TURNS = 8
"""Turns of the event loop that the next item gets to arrive. HTTP clients that have it in a buffer need one, a stream
that makes a task for each item 3, two such in each other 5, one that reads in a worker thread 8 (measured). If nothing
arrives, they cost 20 microseconds together."""


class Arrival(NamedTuple, Generic[T]):
    """An item of a stream.

    Attributes:
        item: as the stream gave it.
        more: whether the next one is there already.
    """

    item: T
    more: bool


class Ahead(Generic[T]):
    """Gives out a stream's items, each with whether the next one is there already. Iterate it once, as a context.

    The stream is asked for one item more than was given out, never for two; for the first when the context is entered.
    What it raises comes behind the items before it. Leaving the context closes it at once, even while it is asked.

    It runs in a task of its own, from its first item to its end, since what a stream may hold open between two items (a
    time limit, a span, a context variable) is bound to one task. Context variables are those of the caller.
    """

    def __init__(self, source: AsyncIterator[T], *, may_ask_on: Callable[[T], bool] = lambda _: True) -> None:
        """Read a stream.

        Args:
            source: the stream.
            may_ask_on: whether the stream may be asked for the next item while this one is still worked on.
        """
        self._source = source
        self._may_ask_on = may_ask_on
        self._held: list[T] = []
        self._is_there = asyncio.Event()
        self._is_asked = asyncio.Event()
        self._is_left = False
        self._is_closed = False

    async def __aenter__(self) -> Self:
        self._is_asked.set()
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda _: self._is_there.set())
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Arrival[T]:
        if not (self._held or self._task.done()):
            self._is_asked.set()
            await self._is_there.wait()
        if self._is_left:
            raise StopAsyncIteration
        if not self._held:
            self._task.result()  # raises what the stream has raised
            raise StopAsyncIteration
        item = self._held.pop()
        self._is_there.clear()
        if self._may_ask_on(item):
            self._is_asked.set()
            await self._let_arrive()
        return Arrival(item, bool(self._held))

    async def aclose(self) -> None:
        """Ask no more, and close the stream."""
        was_over, self._is_left = self._task.done(), True
        if self._is_asked.is_set():
            self._task.cancel()
        else:
            self._is_asked.set()
        (error,) = await asyncio.gather(self._task, return_exceptions=True)
        await self._close()  # a task that is cancelled before it has begun never gets there
        if isinstance(error, Exception) and not was_over:
            _log.warning("an LLM's stream ended with %s when it was closed", type(error).__name__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _let_arrive(self) -> None:
        for _ in range(TURNS):
            if self._held or self._task.done():
                return
            await asyncio.sleep(0)

    async def _run(self) -> None:
        try:
            async for item in self._source:
                self._held.append(item)
                self._is_asked.clear()
                self._is_there.set()
                if not self._is_left:  # else it gave an item when it was cancelled
                    await self._is_asked.wait()
                if self._is_left:
                    break
        finally:
            self._task.uncancel()  # some clients close nothing in a task that is being cancelled
            await self._close()

    async def _close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            if callable(aclose := getattr(self._source, "aclose", None)):
                await aclose()

"""A stream read one item ahead: what it says of the next item, and that it is closed at once and in its own task."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Self

import pytest

from guardrail.ahead import Ahead
from tests.pacing import dawdle

CONTEXT: ContextVar[str] = ContextVar("context", default="none")


@dataclass
class Source:
    """Numbers from 0 on, and what became of the stream that gives them.

    Attributes:
        n_items: given before the end.
        is_slow: whether the next one takes its time.
        error: raised at the end.
        waits: whether the stream never ends.
        n_asked: items that were asked for.
        left_by: what ended the stream early.
    """

    n_items: int = 3
    is_slow: bool = False
    error: BaseException | None = None
    waits: bool = False
    n_asked: int = 0
    left_by: type[BaseException] | None = None

    async def __call__(self) -> AsyncGenerator[int]:
        try:
            for number in range(self.n_items):
                self.n_asked += 1
                if self.is_slow:
                    await dawdle()
                yield number
            self.n_asked += 1
            if self.waits:
                await asyncio.Event().wait()
            if self.error:
                raise self.error
        except (GeneratorExit, asyncio.CancelledError) as error:
            self.left_by = type(error)
            raise


async def read(source: AsyncIterator[int]) -> list[tuple[int, bool]]:
    """Read to the end."""
    async with Ahead(source) as arrivals:
        return [(item, more) async for item, more in arrivals]


async def test_it_says_of_each_item_whether_the_next_is_there() -> None:
    """Of all but the last of a fast stream, of none of a slow one."""
    assert await read(Source()()) == [(0, True), (1, True), (2, False)]
    assert await read(Source(is_slow=True)()) == [(0, False), (1, False), (2, False)]
    assert await read(Source(0)()) == []


async def test_a_stream_that_makes_tasks_gets_the_turns_that_it_needs() -> None:
    """As chains of LangChain do, one around the other."""

    async def in_tasks(source: AsyncGenerator[int]) -> AsyncGenerator[int]:
        while (item := await asyncio.create_task(anext(source, None))) is not None:
            yield item

    assert [more for _, more in await read(in_tasks(in_tasks(Source()())))] == [True, True, False]


async def test_it_asks_for_one_item_more_than_it_gave() -> None:
    """However long its reader takes."""
    source = Source(10)
    async with Ahead(source()) as arrivals:
        for n_given in range(10):
            await dawdle()
            assert source.n_asked == n_given + 1
            await anext(arrivals)


async def test_it_does_not_ask_on_where_it_may_not() -> None:
    """Behind such an item the next one is asked for when its reader wants it."""
    source = Source(4)
    async with Ahead(source(), may_ask_on=lambda number: number != 1) as arrivals:
        assert [await anext(arrivals) for _ in range(2)] == [(0, True), (1, False)]
        await dawdle()
        assert source.n_asked == 2
        assert [arrival async for arrival in arrivals] == [(2, True), (3, False)]


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize("error", [ConnectionError("upstream"), asyncio.CancelledError("of its own")])
async def test_what_the_stream_raises_comes_behind_its_items(is_slow: bool, error: BaseException) -> None:
    """The very exception; of the item before it nothing says that more is there."""
    read: list[tuple[int, bool]] = []
    async with Ahead(Source(2, is_slow, error)()) as arrivals:
        read += [await anext(arrivals), await anext(arrivals)]
        with pytest.raises(type(error)) as caught:
            await anext(arrivals)
    assert read == [(0, not is_slow), (1, False)]
    assert caught.value is error


@pytest.mark.parametrize("n_read", [0, 1, 3])
async def test_leaving_closes_the_stream_at_once(n_read: int) -> None:
    """Before it has begun, between two items, and while it is asked for one that never comes."""
    source = Source(3, waits=True)
    async with Ahead(source()) as arrivals:
        for _ in range(n_read):
            await anext(arrivals)
    assert source.left_by is {0: None, 1: GeneratorExit, 3: asyncio.CancelledError}[n_read]
    with pytest.raises(StopAsyncIteration):
        await anext(arrivals)


@pytest.mark.parametrize("n_items", [0, 3])
async def test_a_cancelled_reader_closes_the_stream_at_once(n_items: int) -> None:
    """It has been closed by the time the reader's task has ended."""
    source = Source(n_items, waits=True)
    reading = asyncio.create_task(read(source()))
    await dawdle()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert source.left_by is asyncio.CancelledError


@dataclass
class Closable:
    """A stream that is no generator.

    Attributes:
        on_close: what closing does.
        on_cancel: what it does when it is cancelled while it waits.
        tasks: that worked on it.
        cancelling: of these tasks, when it was closed.
    """

    on_close: Callable[[], object] = lambda: None
    on_cancel: Callable[[], object] | None = None
    tasks: set[asyncio.Task[object] | None] = field(default_factory=set)
    cancelling: list[int] = field(default_factory=list)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        self.tasks.add(asyncio.current_task())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.on_cancel is None:
                raise
            self.on_cancel()
        return 1

    async def aclose(self) -> None:
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        self.cancelling.append(task.cancelling())
        self.on_close()


def broken() -> None:
    raise ConnectionError("secret")


@pytest.mark.parametrize("n_turns", [0, 1])
async def test_a_stream_is_closed_once_and_not_as_if_it_were_cancelled(n_turns: int) -> None:
    """Some clients leave connections open in a task that is being cancelled."""
    source = Closable()
    async with Ahead(source):
        for _ in range(n_turns):
            await dawdle()
    assert source.cancelling == [0]
    assert len(source.tasks) == 1


async def test_a_stream_that_gives_an_item_when_it_is_cancelled_is_closed() -> None:
    """The item is nobody's."""
    source = Closable(on_cancel=lambda: None)
    async with Ahead(source):
        await dawdle()
    assert len(source.cancelling) == 1


@pytest.mark.parametrize("source", [Closable(on_close=broken), Closable(on_cancel=broken)])
async def test_a_stream_that_cannot_be_closed_is_logged(source: Closable, caplog: pytest.LogCaptureFixture) -> None:
    """A stop stays a stop; the log names the error's type, and nothing of its text."""
    async with Ahead(source):
        await dawdle()
    assert "ConnectionError" in caplog.text
    assert "secret" not in caplog.text


async def test_an_error_that_nobody_read_on_for_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    """An LLM that dies behind a stop is nobody's concern; asyncio does not complain either."""
    with caplog.at_level(logging.DEBUG):
        async with Ahead(Source(1, error=ConnectionError())()) as arrivals:
            await anext(arrivals)
    del arrivals
    assert not caplog.records


async def test_the_stream_lives_in_one_task_and_one_context() -> None:
    """Time limits, spans and variables that it holds open between two items end where they began."""
    tasks, seen = set(), []

    async def source() -> AsyncIterator[int]:
        token = CONTEXT.set(f"{CONTEXT.get()} and stream")
        try:
            async with asyncio.timeout(60):
                for number in range(3):
                    tasks.add(asyncio.current_task())
                    seen.append(CONTEXT.get())
                    yield number
        finally:
            tasks.add(asyncio.current_task())
            CONTEXT.reset(token)

    CONTEXT.set("caller")
    async with Ahead(source()) as arrivals:
        async for number, _ in arrivals:
            assert CONTEXT.get() == "caller"
            if number == 1:
                break
    assert len(tasks) == 1
    assert set(seen) == {"caller and stream"}

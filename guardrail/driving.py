"""Drives reading generators against an engine: in this thread, from an event loop, or many side by side; the one place
that waits.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Generic

from guardrail.engines.base import Engine, Feed, Logits, Submitting, engine_edge
from guardrail.errors import EngineError
from guardrail.tape import Borrowed, Call, Receipt, Step, Steps, T


def drive(engine: Engine, steps: Steps[T]) -> T:
    """Run a generator to its end; what the engine raises is thrown into it."""
    try:
        step = next(steps)
        while True:
            try:
                logits = _step(engine, step)
            except EngineError as error:
                step = steps.throw(error)
            else:
                step = steps.send(logits)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()


async def adrive(engine: Engine, steps: Steps[T]) -> T:
    """As `drive`, without blocking the event loop. A cancelled task withdraws what waits, and waits for a step in
    flight, so that its session is never used twice at once.
    """
    try:
        step = next(steps)
        while True:
            try:
                logits = await _astep(engine, step)
            except EngineError as error:
                step = steps.throw(error)
            else:
                step = steps.send(logits)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()


def drive_many(engine: Engine, many: Iterable[Steps[T]], *, at_once: int, call_tokens: int) -> Iterator[T]:
    """Run generators side by side; yield what they return, in their order.

    Which of them share a call of the model depends on their order alone, so that a second run gives the same numbers to
    the last bit. With threads or tasks that would depend on who comes first.

    Args:
        engine: runs the model.
        many: taken as they are needed.
        at_once: most that are under way.
        call_tokens: most tokens of a call that several share.
    """
    arriving, lanes = enumerate(many), _Lanes[T](engine, call_tokens)
    n_told = 0
    try:
        while True:
            while len(lanes.waiting) < at_once and (arrived := next(arriving, None)):
                lanes.advance(_Lane(*arrived))
            while n_told in lanes.ended:
                yield lanes.ended.pop(n_told)
                n_told += 1
            if not lanes.waiting:
                return
            lanes.call()
    finally:
        for lane in lanes.waiting:
            lane.steps.close()


@dataclass(slots=True)
class _Lane(Generic[T]):
    """One generator among many, and what it waits for."""

    number: int
    steps: Steps[T]
    answer: list[Logits] | EngineError | None = None
    feeds: list[Feed] = field(default_factory=list)
    call: Call | None = None

    @property
    def n_tokens(self) -> int:
        """Tokens that it waits for."""
        return sum(len(feed.ids) for feed in self.feeds)

    def go_on(self) -> Step:
        """Hand over the answer; return what is wanted next."""
        if self.answer is None:
            return next(self.steps)
        if isinstance(self.answer, EngineError):
            return self.steps.throw(self.answer)
        return self.steps.send(self.answer)


class _Lanes(Generic[T]):
    """Generators under way, in the order of their turn."""

    def __init__(self, engine: Engine, call_tokens: int) -> None:
        self._engine, self._call_tokens = engine, call_tokens
        self.waiting: deque[_Lane[T]] = deque()
        self.ended: dict[int, T] = {}

    def advance(self, lane: _Lane[T]) -> None:
        """Run a lane until it waits for the model or a call, or ends."""
        try:
            while not isinstance(step := lane.go_on(), list | Call):
                lane.answer = self._answer(step)
        except StopIteration as end:
            self.ended[lane.number] = end.value
        else:
            lane.feeds, lane.call = (step, None) if isinstance(step, list) else ([], _started(step))
            self.waiting.append(lane)

    def call(self) -> None:
        """Let the model read for those whose turn it is; a call that fails is made again for each of them alone."""
        lanes = self._take()
        answer = self._answer(lanes[0].call or [feed for lane in lanes for feed in lane.feeds])
        for lane in lanes:
            if isinstance(answer, EngineError):
                lane.answer = answer if len(lanes) == 1 else self._answer(lane.feeds)
            else:
                lane.answer, answer = answer[: len(lane.feeds)], answer[len(lane.feeds) :]
        for lane in lanes:
            self.advance(lane)

    def _take(self) -> list[_Lane[T]]:
        """Return the next lanes that fit into a call, at least one; what waits for something else stands alone."""
        lanes: list[_Lane[T]] = []
        spare = self._call_tokens
        while self.waiting and (not lanes or (lanes[0].feeds and 0 < self.waiting[0].n_tokens <= spare)):
            spare -= self.waiting[0].n_tokens
            lanes.append(self.waiting.popleft())
        return lanes

    def _answer(self, step: Step) -> list[Logits] | EngineError:
        try:
            return _step(self._engine, step)
        except EngineError as error:
            return error


def _started(call: Call) -> Call:
    """Begin a call; return one that only waits for it."""
    future = call.start()
    return Call(lambda: future)


async def _astep(engine: Engine, step: Step) -> list[Logits]:
    """As `_step`: through the engine's own queue if it has one, else in a worker thread."""
    if isinstance(step, Borrowed):
        return await _astep(step.engine, step.step)
    if isinstance(step, Receipt):
        await _waited(step)
        return []
    if isinstance(step, Call):
        with engine_edge():
            call = step.start()
            await _outlasting(_heard(call), call.cancel)
        return []
    if not (isinstance(step, list) and isinstance(engine, Submitting)):
        # a future of the executor, not a task: closing the loop cancels tasks while their thread still runs
        return await _outlasting(asyncio.get_running_loop().run_in_executor(None, _step, engine, step))
    with engine_edge():
        ticket = engine.submit(step)
    timer = asyncio.get_running_loop().call_later(ticket.timeout_s, ticket.expire) if ticket.timeout_s else None
    try:
        return _checked(await _outlasting(_heard(ticket.future), ticket.withdraw), step)
    finally:
        if timer:
            timer.cancel()


async def _waited(step: Receipt) -> None:
    """Wait until it has ended, however it does, or long enough."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell(_done: object) -> None:
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(ended.set)

    step.future.add_done_callback(tell)
    with suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), step.timeout_s)


def _heard(future: Future[T]) -> asyncio.Future[T]:
    """Return a future of this event loop that ends as another thread's does."""
    answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    future.add_done_callback(partial(_tell, answer))
    return answer


async def _outlasting(call: asyncio.Future[T], withdraw: Callable[[], object] | None = None) -> T:
    """Wait for a call; a task that is cancelled meanwhile withdraws it and ends when the call has ended."""
    cancelled: asyncio.CancelledError | None = None
    while not call.done():
        try:
            await asyncio.wait([call])
        except asyncio.CancelledError as error:
            cancelled = error
            if withdraw:
                withdraw()
    if cancelled:
        call.cancelled() or call.exception()  # asked for, so that asyncio does not report it as forgotten
        raise cancelled
    return call.result()


def _tell(answer: asyncio.Future[T], done: Future[T]) -> None:
    """Hand what another thread's future ended with to the event loop, from whatever thread."""

    def hand_over() -> None:
        if done.cancelled():
            answer.cancel()
        elif (error := done.exception()) is not None:
            answer.set_exception(error)
        else:
            answer.set_result(done.result())

    with suppress(RuntimeError):  # the loop was closed: nobody waits any more
        answer.get_loop().call_soon_threadsafe(hand_over)


def _step(engine: Engine, step: Step) -> list[Logits]:
    with engine_edge():
        if isinstance(step, list):
            return _checked(engine.step(step), step)
        if isinstance(step, Borrowed):
            return _step(step.engine, step.step)
        if isinstance(step, Call):
            step.start().result()
        elif isinstance(step, Receipt):
            step.wait()
        else:
            step.run()
        return []


def _checked(logits: list[Logits], feeds: list[Feed]) -> list[Logits]:
    if len(logits) != len(feeds):
        raise EngineError(f"the engine answered {len(logits)} of {len(feeds)} feeds")
    return logits

"""Drives reading generators against an engine, in this thread or from an event loop; the one place that waits."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

from guardrail.engines.base import Engine, Feed, Logits, Submitting, engine_edge
from guardrail.errors import EngineError
from guardrail.tape import Steps, T, Work


def drive(engine: Engine, steps: Steps[T]) -> T:
    """Run a generator to its end; what the engine raises is thrown into it."""
    try:
        feeds = next(steps)
        while True:
            try:
                logits = _step(engine, feeds)
            except EngineError as error:
                feeds = steps.throw(error)
            else:
                feeds = steps.send(logits)
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
        feeds = next(steps)
        while True:
            try:
                logits = await _astep(engine, feeds)
            except EngineError as error:
                feeds = steps.throw(error)
            else:
                feeds = steps.send(logits)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()


async def _astep(engine: Engine, feeds: list[Feed] | Work) -> list[Logits]:
    """As `_step`: through the engine's own queue if it has one, else in a worker thread."""
    if isinstance(feeds, Work) or not isinstance(engine, Submitting):
        # a future of the executor, not a task: closing the loop cancels tasks while their thread still runs
        return await _outlasting(asyncio.get_running_loop().run_in_executor(None, _step, engine, feeds))
    with engine_edge():
        ticket = engine.submit(feeds)
    answer = asyncio.get_running_loop().create_future()
    ticket.future.add_done_callback(partial(_tell, answer))
    timer = asyncio.get_running_loop().call_later(ticket.timeout_s, ticket.expire) if ticket.timeout_s else None
    try:
        return _checked(await _outlasting(answer, ticket.withdraw), feeds)
    finally:
        if timer:
            timer.cancel()


async def _outlasting(call: asyncio.Future[T], withdraw: Callable[[], None] | None = None) -> T:
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
        call.exception()  # asked for, so that asyncio does not report it as forgotten
        raise cancelled
    return call.result()


def _tell(answer: asyncio.Future[list[Logits]], done: Future[list[Logits]]) -> None:
    """Hand what an engine's future ended with to the event loop, from whatever thread."""

    def hand_over() -> None:
        error = done.exception()
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(done.result())

    with suppress(RuntimeError):  # the loop was closed: nobody waits any more
        answer.get_loop().call_soon_threadsafe(hand_over)


def _step(engine: Engine, feeds: list[Feed] | Work) -> list[Logits]:
    with engine_edge():
        if isinstance(feeds, Work):
            feeds.run()
            return []
        return _checked(engine.step(feeds), feeds)


def _checked(logits: list[Logits], feeds: list[Feed]) -> list[Logits]:
    if len(logits) != len(feeds):
        raise EngineError(f"the engine answered {len(logits)} of {len(feeds)} feeds")
    return logits

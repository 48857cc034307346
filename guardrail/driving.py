"""Drives reading generators against an engine, in this thread or from an event loop; the one place that waits."""

import asyncio

from guardrail.engines.base import Engine, Feed, Logits
from guardrail.errors import EngineError
from guardrail.tape import Steps, T, engine_edge


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
    """As `drive`, with the engine in a worker thread. A cancelled task waits for the step in flight first, so that
    its session is never used twice at once.
    """
    try:
        feeds = next(steps)
        while True:
            try:
                logits = await _in_thread(engine, feeds)
            except EngineError as error:
                feeds = steps.throw(error)
            else:
                feeds = steps.send(logits)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()


async def _in_thread(engine: Engine, feeds: list[Feed]) -> list[Logits]:
    # A future of the executor, not a task: closing the loop cancels tasks while their thread still runs.
    call = asyncio.get_running_loop().run_in_executor(None, _step, engine, feeds)
    cancelled: asyncio.CancelledError | None = None
    while not call.done():
        try:
            await asyncio.wait([call])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        call.exception()  # asked for, so that asyncio does not report it as forgotten
        raise cancelled
    return call.result()


def _step(engine: Engine, feeds: list[Feed]) -> list[Logits]:
    with engine_edge():
        logits = engine.step(feeds)
        if len(logits) != len(feeds):
            raise EngineError(f"the engine answered {len(logits)} of {len(feeds)} feeds")
        return logits

"""Drives reading generators against an engine, in this thread or from an event loop; the one place that waits."""

import asyncio

from guardrail.engines.base import Engine, Feed, Logits
from guardrail.errors import EngineError
from guardrail.reading import Steps, T


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
    call = asyncio.ensure_future(asyncio.to_thread(_step, engine, feeds))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        raise


def _step(engine: Engine, feeds: list[Feed]) -> list[Logits]:
    """Call the engine; whatever it raises becomes an EngineError, so that a failure can never look like a verdict."""
    try:
        logits = engine.step(feeds)
    except EngineError:
        raise
    except Exception as error:  # the engine edge: foreign exceptions are translated here, once
        raise EngineError(f"the engine raised {type(error).__name__}") from error
    if len(logits) != len(feeds):
        raise EngineError(f"the engine answered {len(logits)} of {len(feeds)} feeds")
    return logits

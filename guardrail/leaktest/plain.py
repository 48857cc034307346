"""Drives a plain Python function that takes an iterator of text and yields what may be shown."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from guardrail.leaktest.canary import Canary
from guardrail.leaktest.drive import Drive, Meter, Progress, eavesdrop
from guardrail.leaktest.spy import Run, Spy

YIELDED = "yielded text"


def is_plain(target: object) -> bool:
    """Whether a target is a generator function, synchronous or asynchronous: then it guards text, not a framework."""
    return inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target)


def function_drives(function: Callable[[Any], Any], canary: Canary, spy: Spy) -> list[Drive]:
    """Return the one way of calling a generator function: iterating it over the canary's tokens."""

    def run() -> Run:
        meter = Meter()
        heard = Progress(spy, canary, meter)
        spy.listen(YIELDED)
        with eavesdrop(spy, "iterate") as outcome:
            if inspect.isasyncgenfunction(function):
                asyncio.run(_read(function(_awaited(meter, canary)), heard))
            else:
                for text in function(meter.tokens(canary)):
                    heard.hear(YIELDED, "iterate", [("", text)])
        return Run("iterate", meter.produced, heard.first_text_at, outcome.error)

    return [Drive("iterate", run)]


async def _awaited(meter: Meter, canary: Canary) -> AsyncIterator[str]:
    for token in meter.tokens(canary):
        yield token


async def _read(given: AsyncIterator[str], heard: Progress) -> None:
    async for text in given:
        heard.hear(YIELDED, "iterate", [("", text)])

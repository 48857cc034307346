"""Logic that waits for the guard, written once: a generator yields its waits, sync or async code goes through them."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Wait(NamedTuple):
    """One call that may take long, in both its forms; its result is sent back into the generator."""

    call: Callable[[], Any]
    acall: Callable[[], Awaitable[Any]]


Steps = Generator[Wait, Any, T]


def wait(call: Callable[..., Any], acall: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Wait:
    """Return a method and its async twin with the same arguments."""
    return Wait(partial(call, *args, **kwargs), partial(acall, *args, **kwargs))


def run(steps: Steps[T]) -> T:
    """Go through a generator's waits in this thread; what a call raises ends the generator."""
    with closing(steps):
        try:
            waiting = next(steps)
            while True:
                waiting = steps.send(waiting.call())
        except StopIteration as end:
            result: T = end.value
            return result


async def arun(steps: Steps[T]) -> T:
    """As `run`, without blocking the event loop."""
    with closing(steps):
        try:
            waiting = next(steps)
            while True:
                waiting = steps.send(await waiting.acall())
        except StopIteration as end:
            result: T = end.value
            return result

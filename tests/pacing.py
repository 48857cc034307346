"""Scripted LLMs that are slower than the guard: when one chunk is read, the next one is not there yet."""

import asyncio

from guardrail.ahead import TURNS


async def dawdle() -> None:
    """Return after more turns of the event loop than the next chunk gets to arrive."""
    for _ in range(2 * TURNS):
        await asyncio.sleep(0)

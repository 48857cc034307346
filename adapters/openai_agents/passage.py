"""The order in which what carries text leaves the gate."""

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from guardrail.stream import Stream

Carrier = TypeVar("Carrier")


class Passage(Generic[Carrier]):
    """Takes carriers of text, such as events; gives each out when all text before it has left. One caller at a time.

    What it gives out is a carrier, the text that it shows now, and whether that was the last of its text.
    """

    def __init__(self, gate: Stream) -> None:
        self._gate = gate
        self._queue: deque[tuple[Carrier, str]] = deque()
        self._is_answering = False

    async def take(self, carrier: Carrier, texts: Iterable[tuple[str, bool]]) -> list[tuple[Carrier, str, bool]]:
        """Take a carrier with texts, each with whether it is reasoning, for `catch_up`; return what may leave now."""
        fed, released = "", ""
        for text, thinking in texts:
            # The guard's format has one think block, in front: later reasoning is read as answer.
            self._is_answering |= not thinking
            fed += text
            released += await self._gate.afeed(text, thinking=not self._is_answering, more=True)
            if self._gate.is_stopped:
                break
        self._queue.append((carrier, fed))
        return self._release(released)

    async def catch_up(self) -> list[tuple[Carrier, str, bool]]:
        """Read all that was taken; return what may leave now."""
        return self._release(await self._gate.afeed(""))

    async def end(self) -> list[tuple[Carrier, str, bool]]:
        """End the answer; return the rest of what may leave."""
        return self._release(await self._gate.afinish())

    def _release(self, text: str) -> list[tuple[Carrier, str, bool]]:
        leaving = []
        while self._queue:
            carrier, waiting = self._queue.popleft()
            shown, rest, text = text[: len(waiting)], waiting[len(text) :], text[len(waiting) :]
            if shown or not rest:
                leaving.append((carrier, shown, not rest))
            if rest:
                self._queue.appendleft((carrier, rest))
                break
        return leaving

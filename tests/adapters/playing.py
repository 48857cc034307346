"""What plays through a door, and what is heard of it.

An LLM streams a text in pieces of one size and then ends well, dies, or keeps its reader waiting.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from guardrail import Guard
from guardrail.leaktest import Spy, texts
from tests.pacing import dawdle

Ending = Literal["well", "dies", "waits"]


class Died(RuntimeError):
    """What the LLM's connection raises in the middle."""


@dataclass
class Script:
    """What the LLM does.

    Attributes:
        text: what it writes.
        size: characters of a piece.
        ending: how the stream ends, behind the text.
        is_slow: whether each piece is read before the next one comes.
        is_waiting: set when it keeps its reader waiting.
        n_closed: streams that have ended, for whatever reason.
        n_pieces: pieces given out.
    """

    text: str
    size: int = 3
    ending: Ending = "well"
    is_slow: bool = False
    is_waiting: asyncio.Event = field(default_factory=asyncio.Event)
    n_closed: int = 0
    n_pieces: int = 0

    def cut(self) -> Iterator[str]:
        """Yield the pieces."""
        for i in range(0, len(self.text), self.size):
            self.n_pieces += 1
            yield self.text[i : i + self.size]

    async def pieces(self) -> AsyncGenerator[str]:
        """Yield the pieces, then end."""
        try:
            for piece in self.cut():
                yield piece
                await (dawdle() if self.is_slow else asyncio.sleep(0))
            if self.ending == "dies":
                raise Died
            if self.ending == "waits":
                self.is_waiting.set()
                await asyncio.sleep(60)
        finally:
            self.n_closed += 1


@dataclass
class Played:
    """What came out of a door.

    Attributes:
        released: text that a reader of the stream gets, joined.
        spy: heard every outlet.
    """

    released: str = ""
    spy: Spy = field(default_factory=Spy)

    def hear(self, outlet: str, value: object, part: str = "") -> None:
        """Remember all texts in a value."""
        self.spy.listen(outlet)
        for path, text in texts(value):
            self.spy.heard(outlet, text, part + path)


Door = Callable[[Guard, Script, Played, str], Awaitable[None]]

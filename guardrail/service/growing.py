"""Answers that are shown again and again, each time a little longer: what is new is read, what was read is kept."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from guardrail.conversation import Message
from guardrail.decision import Decision
from guardrail.guard import Guard
from guardrail.stream import Stream

Key = tuple[str | None, str]
"""A tenant, and its id of a call."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What is known of an answer as it was shown last.

    Attributes:
        decision: what it comes to if it ends here.
        n_final: characters that are cleared, however it goes on.
        is_stopped: whether it is stopped, however it goes on.
    """

    decision: Decision
    n_final: int
    is_stopped: bool


@dataclass(slots=True)
class _Growing:
    """One text of a call's answer."""

    stream: Stream
    text: str = ""

    async def show(self, text: str) -> Shown:
        """Take the text as it is now, which begins with what it was."""
        await self.stream.afeed(text[len(self.text) :])
        self.text = text
        peeked = await self.stream.apeek()
        return Shown(peeked, self.stream.released_chars, self.stream.is_stopped)


@dataclass(slots=True)
class Call:
    """One call of an LLM.

    Attributes:
        guard: judges its answer.
        messages: what it answers.
        conversation_id: for the record.
        tenant: whose it is.
        seen_s: when it was last heard of (monotonic).
    """

    guard: Guard
    messages: tuple[Message, ...]
    conversation_id: str | None
    tenant: str | None
    seen_s: float = 0.0
    _texts: list[_Growing] = field(default_factory=list)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_busy(self) -> bool:
        """Whether it is being read."""
        return self._lock.locked()

    async def show(self, texts: list[str]) -> list[Shown]:
        """Take the texts of the answer as they are now, one a choice."""
        async with self._lock:
            return [await (await self._at(i, text)).show(text) for i, text in enumerate(texts)]

    async def finish(self) -> None:
        """End its streams: no more was heard of the answer, and it is taken to be whole."""
        async with self._lock:
            for one in self._texts:
                await one.stream.afinish()
            self._texts.clear()

    async def _at(self, index: int, text: str) -> _Growing:
        """Return a text's stream: a new one where it does not go on from what was shown."""
        while len(self._texts) <= index:
            self._texts.append(await self._begun())
        if not text.startswith(self._texts[index].text):
            self._texts[index].stream.close()
            self._texts[index] = await self._begun()
        return self._texts[index]

    async def _begun(self) -> _Growing:
        opened = self.guard.aopen_stream(self.messages, conversation_id=self.conversation_id, tenant=self.tenant)
        return _Growing(await opened)


class Calls:
    """Calls that are under way, bounded and forgotten when they are idle. For one event loop.

    Nobody says when an answer has ended, so one of which nothing is heard for `idle_s` counts as whole: it is finished
    and recorded.
    """

    def __init__(self, *, max_calls: int, idle_s: float, clock: Callable[[], float]) -> None:
        self._max, self._idle_s, self._clock = max_calls, idle_s, clock
        self._calls: OrderedDict[Key, Call] = OrderedDict()

    def __len__(self) -> int:
        return len(self._calls)

    async def begin(self, key: Key, call: Call) -> None:
        """Take up a call that was asked."""
        await self.sweep()
        if old := self._calls.pop(key, None):
            await old.finish()
        self._add(key, call)

    async def find(self, key: Key, otherwise: Callable[[], Call]) -> Call:
        """Return a call, or a new one, of which the question is not known."""
        await self.sweep()
        call = self._calls.pop(key, None) or otherwise()
        self._add(key, call)
        return call

    async def sweep(self) -> None:
        """Finish calls of which nothing was heard for long, and the oldest of too many."""
        now = self._clock()
        for key, call in list(self._calls.items()):
            is_old = now - call.seen_s >= self._idle_s or len(self._calls) >= self._max
            if is_old and not call.is_busy:
                del self._calls[key]
                await call.finish()

    async def finish(self) -> None:
        """Finish all."""
        while self._calls:
            _, call = self._calls.popitem(last=False)
            await call.finish()

    def _add(self, key: Key, call: Call) -> None:
        call.seen_s = self._clock()
        self._calls[key] = call

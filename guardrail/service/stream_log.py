"""The events of one stream: numbered, bounded, and followed by any number of readers."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

from guardrail.service.errors import ServiceError
from guardrail.stream_protocol import EventBase


class StreamLog:
    """Events as JSON, oldest first. For one event loop.

    Attributes:
        n_events: events so far, those that are gone included: the number of the next one.
        is_closed: whether no more will come.
    """

    def __init__(self, max_events: int) -> None:
        self._max = max_events
        self._events: deque[str] = deque()
        self._grown = asyncio.Event()
        self.n_events = 0
        self.is_closed = False

    def add(self, kind: type[EventBase], **fields: Any) -> str:
        """Append an event, wake the readers, and return it."""
        event = kind(seq=self.n_events, **fields).model_dump_json()
        self._events.append(event)
        self.n_events += 1
        self._wake()
        return event

    def trim(self) -> None:
        """Forget the oldest of too many, which every reader who keeps up has had."""
        while len(self._events) > self._max:
            self._events.popleft()

    def close(self) -> None:
        """End the log; readers leave behind its last event."""
        self.is_closed = True
        self._wake()

    def since(self, seq: int) -> list[str]:
        """Return the events from a number on.

        Raises:
            ServiceError: 410, the first of them is gone.
        """
        n_gone = self.n_events - len(self._events)
        if seq < n_gone:
            raise ServiceError(f"events before number {n_gone} are gone", status=410, code="events_gone", param="after")
        n_new = max(0, self.n_events - seq)
        return [*islice(reversed(self._events), n_new)][::-1]  # new events are few, and those that are kept many

    async def follow(self, after: int, *, patience_s: float | None = None) -> AsyncIterator[list[str]]:
        """Yield the events behind a number as they come, up to the last; none of them after every `patience_s` without.

        Raises:
            ServiceError: 410, the reader fell so far behind that events are gone.
        """
        seq = after + 1
        while not (self.is_closed and seq >= self.n_events):
            if seq >= self.n_events and not await self._grows(patience_s):
                yield []
            events = self.since(seq)
            seq += len(events)
            if events:
                yield events

    async def wait_closed(self) -> None:
        """Return when no more events will come."""
        while not self.is_closed:
            await self._grown.wait()

    async def _grows(self, patience_s: float | None) -> bool:
        try:
            async with asyncio.timeout(patience_s):
                await self._grown.wait()
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

"""One stream of a client that has an LLM of its own: deltas in, events out."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from guardrail.decision import Reason
from guardrail.errors import StreamClosed, StreamError
from guardrail.policy import Policy
from guardrail.records import Record
from guardrail.service.errors import ServiceError
from guardrail.service.stream_log import StreamLog
from guardrail.service.verdicts import token_values
from guardrail.stream import Stream
from guardrail.stream_protocol import (
    ClosedEvent,
    DecisionEvent,
    DeltaFrame,
    ErrorEvent,
    EventBase,
    OpenedEvent,
    ReadEvent,
    ReleaseEvent,
    StopEvent,
    VerdictEvent,
    WouldStopEvent,
)


@dataclass(slots=True)
class LiveStream:
    """A stream under moderation, and the log that tells of it. For one event loop; several callers take turns.

    Attributes:
        id: nobody can guess it.
        tenant: whose it is.
        policy: decides.
        log: its events.
        clock: monotonic seconds.
        max_chars: longest answer.
        tells_verdicts: whether its events have every token's.
        releases: whether they have the text that may be shown.
        on_hold: told the seconds for which each delta was held.
        stream: the guard's.
        seen_s: when it was last fed or read.
        n_readers: who follow its events.
        error: why it was closed, if a client's mistake or the server did it.
    """

    id: str
    tenant: str | None
    policy: Policy
    log: StreamLog
    clock: Callable[[], float]
    max_chars: int
    tells_verdicts: bool
    releases: bool
    on_hold: Callable[[float], None]
    stream: Stream
    seen_s: float = 0.0
    n_readers: int = 0
    error: ServiceError | None = None
    _fed_chars: int = 0
    _released_chars: int = 0
    _n_told: int = 0
    _told_would_stop: bool = False
    _waits: bool = False
    _last_offset: int | None = 0
    _brought: list[str] = field(default_factory=list)
    _held: deque[tuple[int, float]] = field(default_factory=deque)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _unread: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.seen_s = self.clock()
        self._unread.set()
        policy = self.policy
        self._add(OpenedEvent, id=self.id, policy=policy.name, release=policy.release, enforce=policy.enforce)
        self._tell("")

    async def feed(self, delta: DeltaFrame, *, more: bool = False) -> list[str]:
        """Take a delta; return the events that it brought. One that came before brings its events again.

        Args:
            delta: with the characters before it, if the client counts them.
            more: whether the next text is at hand already.

        Raises:
            ServiceError: 409, text before it is missing, or the stream has ended; 413, the answer is too long.
        """
        async with self._turn:
            self.seen_s = self.clock()
            text = self._new_part(delta)
            if delta.text and not text and (more or not self._waits):
                return self._brought if delta.offset == self._last_offset else []
            self._begin(offset=self._fed_chars)
            self._waits = more
            await self._read(self.stream.afeed(text, thinking=delta.thinking, more=more), len(text), is_read=not more)
            return self._brought

    async def finish(self, offset: int | None = None) -> list[str]:
        """End the answer; return the events that this brought. A second call brings them again.

        Raises:
            ServiceError: 409, the client has sent more characters than came.
        """
        async with self._turn:
            self.seen_s = self.clock()
            if self.is_over:
                return self._brought if self._last_offset is None else []
            self._refuse_gap(offset)
            self._begin(offset=None)
            await self._read(self.stream.afinish())
            return self._brought

    async def close(self, error: ServiceError | None = None) -> None:
        """Give the stream up: what is held stays withheld, and it is recorded as abandoned, unless it has ended.

        Args:
            error: told to its readers.
        """
        async with self._turn:
            if self.is_over:
                return
            self.error = error
            if error:
                self._add(ErrorEvent, **error.envelope)
            self.stream.close()
            self._tell("")

    @property
    def is_over(self) -> bool:
        """Whether its last event was told."""
        return self.log.is_closed

    @property
    def is_busy(self) -> bool:
        """Whether it is being fed."""
        return self._turn.locked()

    @property
    def state(self) -> dict[str, Any]:
        """What a client can ask of it."""
        return {
            "id": self.id,
            "state": self._state,
            "policy": self.policy.name,
            "release": self.policy.release,
            "fed_chars": self._fed_chars,
            "released_chars": self._released_chars,
            "stop_offset": self.stream.stop_offset,
            "last_seq": self.log.n_events - 1,
        }

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Count a reader."""
        self.n_readers += 1
        self._unread.clear()
        try:
            yield
        finally:
            self.seen_s = self.clock()
            self.n_readers -= 1
            if not self.n_readers:
                self._unread.set()

    async def wait_unread(self) -> None:
        """Return when it has no readers."""
        await self._unread.wait()

    @property
    def _state(self) -> str:
        if not self.is_over:
            return "open"
        if self.stream.is_stopped:
            return "stopped"
        return "abandoned" if self.stream.decision.reason is Reason.ABANDONED else "finished"

    def _new_part(self, delta: DeltaFrame) -> str:
        """Return what of a delta has not come before."""
        self._refuse_gap(delta.offset)
        n_known = 0 if delta.offset is None else self._fed_chars - delta.offset
        text = delta.text[n_known:]
        if self._fed_chars + len(text) > self.max_chars:
            raise ServiceError(f"an answer has {self.max_chars} characters at most", status=413, code="too_large")
        return text

    def _refuse_gap(self, offset: int | None) -> None:
        if offset is not None and offset > self._fed_chars:
            message = f"{self._fed_chars} characters came, {offset} were sent"
            raise ServiceError(message, status=409, code="offset_gap", param="offset")

    def _begin(self, *, offset: int | None) -> None:
        """Begin a call, of which the next one may be the repetition: a delta at an offset, or the end."""
        self.log.trim()
        self._last_offset, self._brought = offset, []

    async def _read(self, reading: Awaitable[str], n_chars: int = 0, *, is_read: bool = False) -> None:
        """Let the guard read, and tell what came of it, even if it was interrupted: that has ended the stream."""
        released, came_s = "", self.seen_s
        try:
            released = await reading
        except StreamClosed:
            raise ServiceError("the stream has ended", status=409, code="stream_ended") from None
        except StreamError as error:
            is_read = False
            raise ServiceError(str(error), status=409, code="out_of_order", param="thinking") from None
        else:
            if n_chars:
                self._fed_chars += n_chars
                self._held.append((self._fed_chars, came_s))
        finally:
            self._tell(released, is_read=is_read)

    def _tell(self, released: str, *, is_read: bool = False) -> None:
        """Add the events of what happened: verdicts before what they cleared, and nothing behind a stop."""
        if self.is_over:
            return
        tokens = self.stream.verdicts[self._n_told :]
        self._n_told += len(tokens)
        if self.tells_verdicts:
            for token in tokens:
                self._add(VerdictEvent, **token_values(token))
        if released:
            self._tell_release(released)
        if self.stream.stop_offset is not None:
            self._tell_stop(self.stream.stop_offset)
        if self.stream.is_stopped or self.stream.is_finished:
            self._add(DecisionEvent, record=Record.of(self.stream.decision))
            self._add(ClosedEvent)
            self.log.close()
        elif is_read:
            self._add(ReadEvent, end=self._fed_chars)

    def _add(self, kind: type[EventBase], **fields: Any) -> None:
        self._brought.append(self.log.add(kind, **fields))

    def _tell_release(self, text: str) -> None:
        start, self._released_chars = self._released_chars, self._released_chars + len(text)
        if self.releases:
            self._add(ReleaseEvent, start=start, end=self._released_chars, text=text)
        now = self.clock()
        while self._held and self._held[0][0] <= self._released_chars:
            self.on_hold(now - self._held.popleft()[1])

    def _tell_stop(self, offset: int) -> None:
        decision = self.stream.decision if self.stream.is_stopped or not self._told_would_stop else None
        if decision is None:
            return
        why = {"stop_offset": offset, "risk": decision.risk, "category": decision.category, "reason": decision.reason}
        if self.stream.is_stopped:
            self._add(StopEvent, **why, message=self.policy.stop_message(decision.category))
        else:
            self._told_would_stop = True
            self._add(WouldStopEvent, **why)

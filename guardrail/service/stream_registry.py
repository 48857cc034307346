"""The streams of a server: found by id and tenant, bounded, and forgotten in time."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from guardrail.guard import Guard
from guardrail.service.callers import Caller
from guardrail.service.errors import ServiceError, overloaded
from guardrail.service.live_stream import LiveStream
from guardrail.service.sections import StreamSettings
from guardrail.service.state import Service
from guardrail.service.stream_log import StreamLog
from guardrail.stream_protocol import OpenFrame

LEAVE_S = 2.0
"""Seconds that readers get for the last events of streams that the server closes. Our choice."""


class StreamRegistry:
    """Streams that clients hold open, and those that ended a little while ago. For one event loop."""

    def __init__(self, settings: StreamSettings, clock: Callable[[], float], on_hold: Callable[[float], None]) -> None:
        """Start empty.

        Args:
            settings: bounds and times.
            clock: monotonic seconds.
            on_hold: told the seconds for which each delta was held.
        """
        self._settings, self.clock, self._on_hold = settings, clock, on_hold
        self._streams: dict[str, LiveStream] = {}
        self._n_opening: Counter[str | None] = Counter()
        self._is_closed = False

    @property
    def open_streams(self) -> list[LiveStream]:
        """Those that have not ended."""
        return [live for live in self._streams.values() if not live.is_over]

    async def open(self, guard: Guard, caller: Caller, asked: OpenFrame) -> LiveStream:
        """Open a stream; what stands before its answer is read.

        Raises:
            ServiceError: 429, there are too many; 503, the server is shutting down.
            ConversationError: the messages cannot be read.
        """
        await self.sweep()
        self._refuse_beyond_bounds(caller.tenant)
        self._forget_beyond_bounds()
        if not asked.enforce:
            guard = guard.with_policy(replace(guard.policy, enforce=False))
        self._n_opening[caller.tenant] += 1
        try:
            opened = guard.aopen_stream(asked.messages, conversation_id=asked.conversation_id, tenant=caller.tenant)
            live = LiveStream(
                id=self._new_id(),
                tenant=caller.tenant,
                policy=guard.policy,
                log=StreamLog(self._settings.max_events),
                clock=self.clock,
                max_chars=self._settings.max_chars,
                tells_verdicts=asked.verdicts,
                releases=asked.enforce,
                on_hold=self._on_hold,
                stream=await opened,
            )
        finally:
            self._n_opening[caller.tenant] -= 1
        self._streams[live.id] = live
        if self._is_closed:
            await live.close(_SHUTTING_DOWN)
        return live

    def find(self, stream_id: str, caller: Caller) -> LiveStream:
        """Return a caller's stream.

        Raises:
            ServiceError: 404, there is none, or it is another tenant's.
        """
        live = self._streams.get(stream_id)
        if live is None or live.tenant != caller.tenant or self._is_past(live):
            raise ServiceError("there is no such stream", status=404, code="stream_not_found", param="id")
        return live

    async def sweep(self) -> None:
        """Close streams that nobody feeds or reads, and forget those that ended long ago."""
        now = self.clock()
        for live in self.open_streams:
            if not (live.n_readers or live.is_busy) and now - live.seen_s >= self._settings.idle_s:
                await live.close(_idle(self._settings.idle_s))
        self._streams = {key: live for key, live in self._streams.items() if not self._is_past(live)}

    async def run(self) -> None:
        """Sweep, for ever."""
        while True:
            await asyncio.sleep(min(self._settings.idle_s, max(self._settings.keep_s, 1)) / 4)
            await self.sweep()

    async def wait_ended(self) -> None:
        """Return when no stream is open."""
        while streams := self.open_streams:
            await streams[0].log.wait_closed()

    async def close(self) -> None:
        """Close all that are open, and let their readers have the last events."""
        self._is_closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await asyncio.gather(*(live.close(_SHUTTING_DOWN) for live in self.open_streams))
                await asyncio.gather(*(live.wait_unread() for live in self._streams.values()))

    def _new_id(self) -> str:
        name, secret = self._settings.server_name, secrets.token_urlsafe(24)
        return f"stream_{name}.{secret}" if name else f"stream_{secret}"

    def _is_past(self, live: LiveStream) -> bool:
        return live.is_over and not live.n_readers and self.clock() - live.seen_s >= self._settings.keep_s

    def _forget_beyond_bounds(self) -> None:
        """Forget the oldest of the streams that ended, before more are kept than may be open."""
        ended = [key for key, live in self._streams.items() if live.is_over and not live.n_readers]
        for key in ended[: max(0, len(ended) - self._settings.max_open)]:
            del self._streams[key]

    def _refuse_beyond_bounds(self, tenant: str | None) -> None:
        if self._is_closed:
            raise _SHUTTING_DOWN
        streams = self.open_streams
        n_all = len(streams) + self._n_opening.total()
        n_own = sum(live.tenant == tenant for live in streams) + self._n_opening[tenant]
        for n_open, n_most, whose in (
            (n_own, self._settings.max_per_tenant, "the tenant"), (n_all, self._settings.max_open, "the server"),
        ):  # fmt: skip
            if n_open >= n_most:
                raise ServiceError(
                    f"{whose} has {n_most} streams open, no more are allowed",
                    status=429, type="requests", code="too_many_streams", retry_after_s=1,
                )  # fmt: skip


_SHUTTING_DOWN = overloaded("the server is shutting down", retry_after_s=5)


def _idle(seconds: float) -> ServiceError:
    return ServiceError(f"nobody fed or read it for {seconds:g} seconds", status=408, code="stream_idle")


@asynccontextmanager
async def opened(service: Service, clock: Callable[[], float]) -> AsyncIterator[StreamRegistry]:
    """Keep a registry while the application runs; what is open at its end is closed and recorded."""
    registry = StreamRegistry(service.settings.streams, clock, service.metrics.hold.observe)
    service.metrics.watch(
        "guardrail_streams_open", "Streams of the stream API that are open.", lambda: len(registry.open_streams)
    )
    sweeping = asyncio.create_task(registry.run())
    try:
        yield registry
    finally:
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)
        await registry.close()

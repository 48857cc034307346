"""A response of server-sent events that closes what it comes from when the client has gone, and at its end."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment: clients skip it, and nothing between takes the connection for dead."""


class EventStream(Response):
    """Sends frames as they come, and a comment while none comes.

    Runs in plain tasks: a cancel reaches the frames' generator once, which can then close what it holds in peace.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        keep_alive_s: float,
        *,
        close: Callable[[], Awaitable[None]],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Respond.

        Args:
            frames: the body.
            keep_alive_s: seconds without a frame after which a comment is sent.
            close: frees what the frames come from, also when none was asked for.
            headers: besides those of a stream.
        """
        super().__init__(headers={**(headers or {}), "cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._frames = frames
        self._keep_alive_s = keep_alive_s
        self._close = close
        self._sent_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's
        """Send all of it."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await while_there(receive, self._sending(send))
        finally:
            await self._close()

    async def _sending(self, send: Send) -> None:
        ticking = asyncio.create_task(self._ticking(send))
        try:
            async with aclosing(self._frames):
                async for frame in self._frames:
                    await self._send(send, frame)
        finally:
            ticking.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _ticking(self, send: Send) -> None:
        clock = asyncio.get_running_loop().time
        self._sent_at = clock()
        while True:
            await asyncio.sleep(self._sent_at + self._keep_alive_s - clock())
            if clock() >= self._sent_at + self._keep_alive_s:
                await self._send(send, KEEP_ALIVE)

    async def _send(self, send: Send, body: bytes) -> None:
        self._sent_at = asyncio.get_running_loop().time()
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def while_there(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Return what work comes to; it is cancelled, and None returned, when the client has gone.

    Args:
        receive: of the request, whose body has been read.
        work: for the client.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_left(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
        await asyncio.wait((working, leaving))
    return None if working.cancelled() else working.result()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

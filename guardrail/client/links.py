"""Connections to the service's WebSocket, blocking and not: the only place that knows `websockets`."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as aconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect
from websockets.sync.connection import Connection
from websockets.typing import Subprotocol

from guardrail.client.asking import ClientError, refusal
from guardrail.stream_protocol import SUBPROTOCOL


class LinkBase(Protocol):
    """One connection; its methods return what they say, or an awaitable of it."""

    def send(self, text: str) -> Any:
        """Send a frame; whether it arrived shows when the next event comes, or does not."""

    def receive(self) -> Any:
        """Return the next event; None if the connection has ended, or nothing came for too long."""

    def close(self) -> Any:
        """End the connection."""


class Link:
    """A blocking connection."""

    def __init__(self, socket: Connection, timeout_s: float) -> None:
        self._socket, self._timeout_s = socket, timeout_s

    @classmethod
    def open(cls, url: str, headers: Mapping[str, str], timeout_s: float, stream_id: str | None = None) -> "Link":
        """Connect.

        Args:
            url: of the service's socket.
            headers: sent with the request.
            timeout_s: seconds without an answer after which it fails.
            stream_id: of the stream that is resumed: balancers may go by it.

        Raises:
            ClientError: the service cannot be reached, or refuses.
        """
        try:
            socket = connect(_naming(url, stream_id), **_settings(headers, timeout_s), close_timeout=1)
        except (OSError, WebSocketException, TimeoutError) as error:
            raise _translated(error) from None
        return cls(socket, timeout_s)

    def send(self, text: str) -> None:
        """Send a frame."""
        with suppress(ConnectionClosed):
            self._socket.send(text)

    def receive(self) -> str | bytes | None:
        """Return the next event; None if none comes."""
        try:
            return self._socket.recv(self._timeout_s)
        except (ConnectionClosed, TimeoutError):
            return None

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


class AsyncLink:
    """A connection that does not block the event loop."""

    def __init__(self, socket: ClientConnection, timeout_s: float) -> None:
        self._socket, self._timeout_s = socket, timeout_s

    @classmethod
    async def open(
        cls, url: str, headers: Mapping[str, str], timeout_s: float, stream_id: str | None = None
    ) -> "AsyncLink":
        """As `Link.open`.

        Raises:
            ClientError: the service cannot be reached, or refuses.
        """
        try:
            socket = await aconnect(_naming(url, stream_id), **_settings(headers, timeout_s), close_timeout=1)
        except (OSError, WebSocketException, TimeoutError) as error:
            raise _translated(error) from None
        return cls(socket, timeout_s)

    async def send(self, text: str) -> None:
        """Send a frame."""
        with suppress(ConnectionClosed):
            await self._socket.send(text)

    async def receive(self) -> str | bytes | None:
        """Return the next event; None if none comes."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._socket.recv()
        except (ConnectionClosed, TimeoutError):
            return None

    async def close(self) -> None:
        """End the connection."""
        await self._socket.close()


def _naming(url: str, stream_id: str | None) -> str:
    return f"{url}?id={stream_id}" if stream_id else url


def _settings(headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
    return {
        "additional_headers": dict(headers),
        "subprotocols": [Subprotocol(SUBPROTOCOL)],
        "open_timeout": timeout_s,
        "max_size": None,  # an event is as long as what a delta releases
        "max_queue": None,  # the caller may send on for long before it listens
    }


def _translated(error: Exception) -> ClientError:
    if isinstance(error, InvalidStatus):
        return refusal(error.response.status_code, error.response.body or b"")
    return ClientError(f"the service cannot be reached: {type(error).__name__}")

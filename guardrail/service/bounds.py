"""What every request passes: an id, limits of size and time, a bound on how many are worked on, a log line at its end.

Written against ASGI itself, so that streams pass through untouched.
"""

import asyncio
import logging
import re
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guardrail.service.errors import ServiceError, overloaded
from guardrail.service.metrics import Metrics
from guardrail.service.sections import ServerSettings

log = logging.getLogger("guardrail.service")

_ID = re.compile(r"[\w.:-]{1,128}")
UNBOUNDED = ("/healthz", "/readyz", "/metrics")
"""Routes that answer however busy the server is."""

CONTINUED = "/v1/streams/"
"""Below it lies what belongs to streams that are open: they may end while the server drains."""


class Bounds:
    """Wraps an application. For one event loop.

    Attributes:
        n_open: requests being answered, streams and WebSockets included.
        is_draining: whether new requests are refused.
    """

    def __init__(self, settings: ServerSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self.n_open = 0
        self.is_draining = False
        self._is_idle = asyncio.Event()

    async def wait_idle(self) -> None:
        """Return when no request is open."""
        while self.n_open:
            self._is_idle.clear()
            await self._is_idle.wait()

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return the application with the bounds around it."""

        async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] in ("http", "websocket"):
                await self._answer(app, scope, receive, send)
            else:
                await app(scope, receive, send)

        return bounded

    async def _answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(scope, receive, send, self._settings)
        counts = scope["path"] not in UNBOUNDED
        if counts and (refusal := self._refusal(scope)):
            await exchange.refuse(refusal)
        else:
            self._open(counts)
            try:
                await self._within_time(app, scope, exchange)
            finally:
                self._open(-counts)
        self._tell(exchange)

    async def _within_time(self, app: ASGIApp, scope: Scope, exchange: "_Exchange") -> None:
        """Run the application; what is not answered in time is ended, but for streams."""
        try:
            async with asyncio.timeout(self._settings.request_s) as exchange.deadline:
                if scope["type"] == "websocket":
                    exchange.deadline.reschedule(None)
                await app(scope, exchange.receive, exchange.send)
        except TimeoutError:
            if exchange.status:
                raise
            seconds = f"{self._settings.request_s:g} seconds"
            message = f"the request was not answered within {seconds}; nothing was passed on"
            await exchange.refuse(ServiceError(message, status=504, type="server_error", code="timeout"))
        except Exception as error:  # the edge of the server: what was not foreseen is told of by its kind
            _log_bug(error, exchange)
            if exchange.status:  # the response has begun: the connection is cut
                raise
            await exchange.refuse(
                ServiceError("the server failed", status=500, type="server_error", code="internal_error")
            )

    def _open(self, change: int) -> None:
        self.n_open += change
        self._metrics.requests_open.set(self.n_open)
        if not self.n_open:
            self._is_idle.set()

    def _refusal(self, scope: Scope) -> ServiceError | None:
        is_resumed = scope["type"] == "websocket" and b"id=" in scope["query_string"]
        is_continued = is_resumed or scope["path"].startswith(CONTINUED)
        if self.is_draining and not is_continued:
            return overloaded("the server is shutting down", retry_after_s=5)
        if self.n_open >= self._settings.max_requests:
            return overloaded("too many requests are being worked on")
        return None

    def _tell(self, exchange: "_Exchange") -> None:
        seconds = time.perf_counter() - exchange.started
        self._metrics.count_request(exchange.route, exchange.method, exchange.status, seconds)
        log.info(
            "%s %s %s", exchange.method, exchange.route, exchange.status,
            extra={"fields": {
                "request_id": exchange.id, "method": exchange.method, "route": exchange.route,
                "status": exchange.status, "duration_ms": round(seconds * 1000, 1), "caller": exchange.caller,
            }},
        )  # fmt: skip


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, settings: ServerSettings) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._settings = settings
        self._n_bytes = 0
        self._has_body = scope["type"] == "websocket"
        self.deadline: asyncio.Timeout | None = None
        self.started = time.perf_counter()
        self._loop_started = asyncio.get_running_loop().time()
        self.status = 0
        self.method = str(scope.get("method", "WS"))
        self.id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = self.id

    @property
    def route(self) -> str:
        """Template of the route; paths hold ids and whatever else clients write."""
        return getattr(self._scope.get("route"), "path", None) or "unknown"

    @property
    def caller(self) -> str | None:
        """Name of the key."""
        return getattr(self._scope.get("state", {}).get("caller"), "name", None)

    async def receive(self) -> Message:
        """Take what the client sends, within the limits of size and time."""
        if self._has_body:
            return await self._receive()
        message = await self._in_time(self._receive)
        if message["type"] == "http.request":
            self._n_bytes += len(message.get("body", b""))
            self._has_body = not message.get("more_body", False)
            if self._n_bytes > self._settings.max_body_bytes:
                raise ServiceError(
                    f"the request is larger than {self._settings.max_body_bytes} bytes", status=413, code="too_large"
                )
        return message

    async def send(self, message: Message) -> None:
        """Pass on what the application sends, with the request's id in front."""
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.id.encode())]
            if self.deadline and _is_stream(message):
                self.deadline.reschedule(None)
        elif message["type"] == "websocket.accept":
            self.status = 101
        await self._send(message)

    async def refuse(self, error: ServiceError) -> None:
        """Answer with an error; to a WebSocket, instead of the handshake."""
        if self._scope["type"] == "websocket":
            await self._receive()
        await error.response()(self._scope, self._receive, self.send)

    async def _in_time(self, receive: Callable[[], Awaitable[Message]]) -> Message:
        try:
            async with asyncio.timeout_at(self._loop_started + self._settings.body_s):
                return await receive()
        except TimeoutError:
            raise ServiceError(
                f"the request did not arrive within {self._settings.body_s:g} seconds", status=408, code="timeout"
            ) from None


def _is_stream(start: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in start["headers"])


def _log_bug(error: Exception, exchange: _Exchange) -> None:
    """Log where an error came from; its own words may hold text of users."""
    frames = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    log.error(
        "%s at %s", type(error).__name__, " < ".join(reversed(frames)),
        extra={"fields": {"request_id": exchange.id, "route": exchange.route}},
    )  # fmt: skip


def _request_id(scope: Scope) -> str:
    """Return the id that the client sent, if it is one, else a new one."""
    sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
    return sent if _ID.fullmatch(sent) else uuid.uuid4().hex

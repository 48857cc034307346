"""Passes JSON-RPC messages on between a client and a server, as they are, but for what the guard stops.

Only what must be read is understood: messages of kinds that are not known here are read whole and passed on.
"""

import logging
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import Protocol

import anyio
from anyio.abc import TaskGroup
from mcp.shared.message import SessionMessage
from mcp.types.jsonrpc import (
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)

from guardrail.adapters.mcp.screener import STOPPED, Screener
from guardrail.errors import ContentStopped
from guardrail.guard import Guard

_log = logging.getLogger("guardrail")

Incoming = AsyncIterable[SessionMessage | Exception]
"""Messages of one side; an exception stands for what was none."""


class Outgoing(Protocol):
    """Takes messages for one side, such as the write stream of the official package's transports."""

    async def send(self, item: SessionMessage, /) -> None: ...


@dataclass(slots=True)
class _Asked:
    """A request of the client that has no answer yet; the scope is that of its judgement, or of its answer's."""

    request: JSONRPCRequest
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    is_with_server: bool = False
    is_answered: bool = False


class Proxy:
    """Stands between one client and one server.

    Calls are judged before the server sees them; everything that the server says before the client does. Messages do
    not wait for each other, but none overtakes a notification that the server sent before it.
    """

    def __init__(self, guard: Guard, client: tuple[Incoming, Outgoing], server: tuple[Incoming, Outgoing]) -> None:
        """Connect two transports.

        Args:
            guard: judges; a failure of it is what the policy says.
            client: messages of the client, and where messages for it go.
            server: the same of the server.
        """
        self._screener = Screener(guard)
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._asked: dict[RequestId, _Asked] = {}

    async def run(self) -> bool:
        """Pass messages on until one side is gone; return whether it was the server."""
        server_ended = False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._serve_client, tasks)
            await self._serve_server()
            server_ended = True
            for asked in list(self._asked.values()):
                await self._fail(asked.request.id, CONNECTION_CLOSED, "the server ended")
            tasks.cancel_scope.cancel()
        return server_ended

    async def _serve_client(self, tasks: TaskGroup) -> None:
        async for item in self._from_client:
            if isinstance(item, Exception):
                await self._fail(None, PARSE_ERROR, "not a JSON-RPC message")
            elif isinstance(item.message, JSONRPCRequest):
                await self._take_request(item.message, tasks)
            elif isinstance(item.message, JSONRPCNotification):
                await self._take_notification(item.message)
            else:
                await _send(self._to_server, item.message)
        tasks.cancel_scope.cancel()

    async def _take_request(self, request: JSONRPCRequest, tasks: TaskGroup) -> None:
        if request.id in self._asked:
            await self._fail(request.id, INVALID_REQUEST, "a request with this id is not answered yet")
            return
        self._asked[request.id] = asked = _Asked(request)
        if request.method == "tools/call":
            tasks.start_soon(self._hold_call, asked)
        else:
            await self._pass_request(asked)

    async def _hold_call(self, asked: _Asked) -> None:
        """Judge a call; pass it to the server, or answer it."""
        request = asked.request
        params = request.params or {}
        name, arguments = params.get("name"), params.get("arguments")
        with asked.scope:
            if not isinstance(name, str) or not isinstance(arguments, dict | None):
                await self._fail(request.id, INVALID_PARAMS, "a call needs a name, and arguments as an object")
                self._asked.pop(request.id, None)
                return
            refusal = await self._screener.refusal(name, arguments or {})
            if refusal is None:
                await self._pass_request(asked)
                return
            self._asked.pop(request.id, None)
            result = {"content": [{"type": "text", "text": refusal}], "isError": True, "resultType": "complete"}
            await _send(self._to_client, JSONRPCResponse(jsonrpc="2.0", id=request.id, result=result))

    async def _pass_request(self, asked: _Asked) -> None:
        asked.is_with_server = True
        await _send(self._to_server, asked.request)

    async def _take_notification(self, message: JSONRPCNotification) -> None:
        if message.method == "notifications/cancelled":
            await self._take_cancellation(message)
        elif message.method == "tools/call":
            _log.warning("a call without an id was dropped")
        else:
            await _send(self._to_server, message)

    async def _take_cancellation(self, message: JSONRPCNotification) -> None:
        """Stop what is being judged; tell the server, unless it never heard of the request."""
        request_id = (message.params or {}).get("requestId")
        asked = self._asked.pop(request_id, None) if isinstance(request_id, int | str) else None
        if asked:
            asked.scope.cancel()
        if asked is None or asked.is_with_server:
            await _send(self._to_server, message)

    async def _fail(self, request_id: RequestId | None, code: int, message: str) -> None:
        error = ErrorData(code=code, message=message)
        await _send(self._to_client, JSONRPCError(jsonrpc="2.0", id=request_id, error=error))

    async def _serve_server(self) -> None:
        """Take what the server says until it ends, and wait until all of it is judged."""
        notified = anyio.Event()
        notified.set()
        async with anyio.create_task_group() as screenings:
            async for item in self._from_server:
                if isinstance(item, Exception):
                    _log.warning("the server wrote a line that is no JSON-RPC message; it was dropped")
                    continue
                before = notified
                if isinstance(item.message, JSONRPCNotification):
                    notified = anyio.Event()
                    screenings.start_soon(self._screen_notification, item.message, before, notified)
                elif isinstance(item.message, JSONRPCRequest):
                    screenings.start_soon(self._screen_request, item.message, before)
                else:
                    self._take_answer(item.message, before, screenings)

    async def _screen_notification(
        self, message: JSONRPCNotification, before: anyio.Event, passed: anyio.Event
    ) -> None:
        stop = await self._screener.stop_in(message.params)
        await before.wait()
        if stop:
            _log.warning("a notification of the server was dropped: %s", ContentStopped(stop))
        else:
            await _send(self._to_client, message)
        passed.set()

    async def _screen_request(self, message: JSONRPCRequest, before: anyio.Event) -> None:
        """Pass a server's request, such as one for sampling, to the client, or refuse it."""
        if stop := await self._screener.stop_in(message.params):
            _log.warning("a request of the server was refused: %s", ContentStopped(stop))
            error = ErrorData(code=STOPPED, message="refused by a safety policy")
            await _send(self._to_server, JSONRPCError(jsonrpc="2.0", id=message.id, error=error))
            return
        await before.wait()
        await _send(self._to_client, message)

    def _take_answer(self, answer: JSONRPCResponse | JSONRPCError, before: anyio.Event, tasks: TaskGroup) -> None:
        asked = self._asked.get(answer.id) if answer.id is not None else None
        if asked is None or asked.is_answered or not asked.is_with_server:
            _log.warning("an answer of the server to no open request was dropped")
            return
        asked.is_answered, asked.scope = True, anyio.CancelScope()
        tasks.start_soon(self._screen_answer, asked, answer, before)

    async def _screen_answer(self, asked: _Asked, answer: JSONRPCResponse | JSONRPCError, before: anyio.Event) -> None:
        with asked.scope:
            screened = await self._screener.screen_answer(asked.request, answer)
            await before.wait()
            self._asked.pop(asked.request.id, None)
            await _send(self._to_client, screened)


async def _send(to: Outgoing, message: JSONRPCMessage) -> None:
    await to.send(SessionMessage(message))

"""The token stream API over a WebSocket: one socket, one stream; resumed on another when it drops."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, WebSocket
from pydantic import ValidationError
from starlette.websockets import WebSocketDisconnect, WebSocketState

from guardrail.ahead import Ahead
from guardrail.errors import ConversationError
from guardrail.service.callers import Caller
from guardrail.service.errors import ServiceError
from guardrail.service.live_stream import LiveStream
from guardrail.service.state import authorised, service_of
from guardrail.service.streams import open_live, streams_of
from guardrail.stream_protocol import (
    BEFORE_ALL,
    FRAME,
    SUBPROTOCOL,
    CloseFrame,
    DeltaFrame,
    ErrorEvent,
    FinishFrame,
    Frame,
    OpenFrame,
    ResumeFrame,
)

router = APIRouter()

NORMAL, POLICY, LATER = 1000, 1008, 1013
"""Close codes of WebSockets: it has ended; the client broke a rule; it may come back later."""


async def same_origin(websocket: WebSocket) -> None:
    """Refuse pages of other origins, which browsers let open WebSockets, unless the settings name them.

    Raises:
        ServiceError: 403.
    """
    origin = websocket.headers.get("origin")
    allowed = service_of(websocket).settings.server.cors_origins
    if origin and origin not in allowed and urlsplit(origin).netloc != websocket.headers.get("host"):
        raise ServiceError("pages of this origin may not call", status=403, code="origin_not_allowed")


@router.websocket("/v1/streams", dependencies=[Depends(same_origin)])
async def stream_socket(websocket: WebSocket, caller: Annotated[Caller, Depends(authorised)]) -> None:
    """Take a stream's frames and send its events."""
    offered = websocket.scope.get("subprotocols") or ()
    await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    frames = _frames(websocket)
    try:
        live, after = await _begin(websocket, caller, frames)
    except ServiceError as error:
        await _refuse(websocket, error)
    except StopAsyncIteration:
        return
    else:
        with live.reading():
            await _carry(websocket, live, after, frames)


async def _begin(websocket: WebSocket, caller: Caller, frames: AsyncIterator[Frame]) -> tuple[LiveStream, int]:
    """Take the first frame; return its stream, and the last event that the client has."""
    seconds = service_of(websocket).settings.server.body_s
    try:
        async with asyncio.timeout(seconds):
            first = await anext(frames)
    except TimeoutError:
        raise ServiceError(f"no frame came within {seconds:g} seconds", status=408, code="timeout") from None
    if isinstance(first, OpenFrame):
        try:
            return await open_live(websocket, caller, first), BEFORE_ALL
        except ConversationError as error:
            raise ServiceError(str(error), code="invalid_request") from error
    if isinstance(first, ResumeFrame):
        live = streams_of(websocket).find(first.id, caller)
        live.log.since(first.after + 1)
        return live, first.after
    raise _misplaced()


async def _carry(websocket: WebSocket, live: LiveStream, after: int, frames: AsyncIterator[Frame]) -> None:
    """Feed what comes and send what happens, until the stream has ended or the connection has."""
    sending = asyncio.create_task(_send(websocket, live, after))
    try:
        async with Ahead(frames) as ahead:
            async for frame, more in ahead:
                await _take(live, frame, more=more)
    except ServiceError as error:
        await live.close(error)
        await asyncio.wait([sending])
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _take(live: LiveStream, frame: Frame, *, more: bool) -> None:
    if isinstance(frame, DeltaFrame):
        await live.feed(frame, more=more)
    elif isinstance(frame, FinishFrame):
        await live.finish(frame.offset)
    elif isinstance(frame, CloseFrame):
        await live.close()
    else:
        raise _misplaced()


async def _frames(websocket: WebSocket) -> AsyncIterator[Frame]:
    """Yield what the client sends, until the connection ends.

    Raises:
        ServiceError: it is no frame.
    """
    while websocket.client_state is WebSocketState.CONNECTED:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        try:
            yield FRAME.validate_json(message.get("text") or b"")
        except ValidationError as error:
            raise ServiceError(_said(error), code="invalid_frame") from None


async def _send(websocket: WebSocket, live: LiveStream, after: int) -> None:
    """Send the events from one on, and close the socket behind the last."""
    try:
        async for events in live.log.follow(after):
            for event in events:
                await websocket.send_text(event)
        await websocket.close(_close_code(live.error) if live.error else NORMAL)
    except ServiceError as error:
        await _refuse(websocket, error)


async def _refuse(websocket: WebSocket, error: ServiceError) -> None:
    """Tell an error that stands in no stream's log, and close the socket."""
    try:
        await websocket.send_text(ErrorEvent(seq=BEFORE_ALL, **error.envelope).model_dump_json())
        await websocket.close(_close_code(error))
    except WebSocketDisconnect:
        return


def _close_code(error: ServiceError) -> int:
    return POLICY if error.retry_after_s is None else LATER


def _misplaced() -> ServiceError:
    return ServiceError("the first frame opens or resumes a stream, and only the first", code="invalid_frame")


def _said(error: ValidationError) -> str:
    """Return what is wrong, without what was sent."""
    first = error.errors()[0]
    if first["type"].startswith("union_tag"):
        return "type: one of open, resume, delta, finish, close"
    is_unknown = first["type"] == "extra_forbidden"  # its name is text of the client's
    place = ".".join(str(part) for part in first["loc"][: -1 if is_unknown else None])
    said = "unknown key" if is_unknown else first["msg"]
    return f"{place}: {said}" if place else said

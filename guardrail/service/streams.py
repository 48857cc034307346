"""The token stream API over HTTP: open a stream, send deltas, get what each brought; or follow all events as SSE."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import HTTPConnection

from guardrail.service import stream_registry
from guardrail.service.callers import Caller
from guardrail.service.errors import ServiceError
from guardrail.service.live_stream import LiveStream
from guardrail.service.state import authorised, service_of
from guardrail.service.stream_registry import StreamRegistry
from guardrail.stream_protocol import BEFORE_ALL, DeltaFrame, FinishFrame, OpenFrame

router = APIRouter(tags=["streams"])


@asynccontextmanager
async def opened(app: FastAPI) -> AsyncIterator[None]:
    """Keep the streams while the application runs."""
    async with stream_registry.opened(app.state.service, time.monotonic) as app.state.streams:
        yield


def streams_of(connection: HTTPConnection) -> StreamRegistry:
    """Return the streams of the application that got this request or WebSocket."""
    streams: StreamRegistry = connection.app.state.streams
    return streams


async def open_live(connection: HTTPConnection, caller: Caller, asked: OpenFrame) -> LiveStream:
    """Open a stream with the caller's policy."""
    guard = service_of(connection).guard_for(caller, "streams")
    return await streams_of(connection).open(guard, caller, asked)


async def found(request: Request, stream_id: str) -> LiveStream:
    """Return the caller's stream. Its deltas do not count against the key's rate: opening it did.

    Raises:
        ServiceError: 401, the key is missing or unknown; 404, there is no such stream.
    """
    caller = service_of(request).keys.caller_of(request)
    request.state.caller = caller
    return streams_of(request).find(stream_id, caller)


Found = Annotated[LiveStream, Depends(found)]


@router.post("/v1/streams", status_code=201)
async def open_stream(
    asked: OpenFrame, request: Request, caller: Annotated[Caller, Depends(authorised)]
) -> dict[str, Any]:
    """Open a stream for an answer to these messages."""
    return (await open_live(request, caller, asked)).state


@router.get("/v1/streams/{stream_id}")
async def show_stream(live: Found) -> dict[str, Any]:
    """Tell the state of a stream."""
    return live.state


@router.delete("/v1/streams/{stream_id}")
async def close_stream(live: Found) -> dict[str, Any]:
    """Give a stream up: what is held stays withheld, and it is recorded as abandoned unless it has ended."""
    await live.close()
    return live.state


@router.post("/v1/streams/{stream_id}/deltas")
async def feed_stream(delta: DeltaFrame, live: Found) -> Response:
    """Take the next piece of the answer; answer with the events that it brought."""
    return _events(await live.feed(delta))


@router.post("/v1/streams/{stream_id}/finish")
async def finish_stream(live: Found, finish: FinishFrame | None = None) -> Response:
    """End the answer; answer with the last events, the decision among them."""
    return _events(await live.finish(finish.offset if finish else None))


@router.get("/v1/streams/{stream_id}/events")
async def follow_stream(
    live: Found,
    request: Request,
    after: Annotated[int, Query(ge=BEFORE_ALL)] = BEFORE_ALL,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Follow a stream's events as SSE, from the one behind `after` (or `Last-Event-ID`) to the last."""
    if last_event_id:
        after = _number(last_event_id)
    live.log.since(after + 1)  # 410 has a status only before the first byte
    patience_s = service_of(request).settings.server.keep_alive_s
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_frames(live, after, patience_s), media_type="text/event-stream", headers=headers)


async def _frames(live: LiveStream, after: int, patience_s: float) -> AsyncIterator[str]:
    """Yield SSE's frames; a reader who falls too far behind is cut off, and told why when it comes back."""
    with live.reading():
        seq = after + 1
        try:
            async for events in live.log.follow(after, patience_s=patience_s):
                for event in events:
                    yield f"id: {seq}\ndata: {event}\n\n"
                    seq += 1
                if not events:
                    yield ": keep-alive\n\n"
        except ServiceError:
            return


def _events(events: list[str]) -> Response:
    return Response(f'{{"events":[{",".join(events)}]}}', media_type="application/json")


def _number(event_id: str) -> int:
    if not event_id.isascii() or not event_id.isdigit():
        raise ServiceError("Last-Event-ID is no number of an event", param="Last-Event-ID", code="invalid_request")
    return int(event_id[:18])

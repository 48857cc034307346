"""`POST /v1/chat/completions`, `/v1/completions` and `/v1/responses`: an OpenAI-compatible LLM behind the guard."""

import json
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import Response

from guardrail.service.callers import Caller
from guardrail.service.errors import ServiceError, reading_request
from guardrail.service.event_stream import while_there
from guardrail.service.proxy import Proxied
from guardrail.service.sections import UpstreamSettings
from guardrail.service.state import authorised, service_of
from guardrail.service.upstream import Upstream, connected
from guardrail.wire.admission import KeptResults
from guardrail.wire.asked import Asked, max_tokens
from guardrail.wire.exchange import Exchange
from guardrail.wire.refused import Format

router = APIRouter(tags=["proxy"])


@dataclass(frozen=True, slots=True)
class Proxy:
    """What the proxy keeps between requests.

    Attributes:
        upstream: the LLM; None where none is set.
        kept: tool results that have been judged.
    """

    upstream: Upstream | None
    kept: KeptResults = field(default_factory=KeptResults)


@asynccontextmanager
async def opened(app: FastAPI, settings: UpstreamSettings | None) -> AsyncGenerator[None]:
    """Hold connections to the upstream while the application runs."""
    async with connected(settings) as upstream:
        app.state.proxy = Proxy(upstream)
        yield


@router.post("/v1/chat/completions")
async def chat_completions(request: Request, caller: Annotated[Caller, Depends(authorised)]) -> Response:
    """Answer a chat."""
    return await _answer(Format.CHAT, request, caller)


@router.post("/v1/completions")
async def completions(request: Request, caller: Annotated[Caller, Depends(authorised)]) -> Response:
    """Go on with a text."""
    return await _answer(Format.TEXT, request, caller)


@router.post("/v1/responses")
async def responses(request: Request, caller: Annotated[Caller, Depends(authorised)]) -> Response:
    """Answer in OpenAI's newer form."""
    return await _answer(Format.RESPONSES, request, caller)


async def _answer(form: Format, request: Request, caller: Caller) -> Response:
    service, proxy = service_of(request), request.app.state.proxy
    if proxy.upstream is None:
        raise ServiceError(
            "no upstream is set: say [upstream] base_url", status=503, type="server_error", code="no_upstream"
        )
    _refuse_other_types(request)
    body = _read(await request.body())
    exchange = _exchange(request, caller, body)
    proxied = Proxied(form, body, exchange, proxy.upstream, request.headers)
    answering = proxied.answer(proxy.kept, service.settings.server.keep_alive_s)
    return await while_there(request.receive, answering) or Response(status_code=499)


def _refuse_other_types(request: Request) -> None:
    """Refuse what is not said to be JSON: a page of any origin could send it from a browser without asking.

    Raises:
        ServiceError: 415.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ServiceError("the request must be application/json", status=415, code="unsupported_media_type")


def _read(body: bytes) -> dict[str, Any]:
    """Return the request, which goes on as it was read: a name that stands twice in it has one value.

    Raises:
        ServiceError: it is no JSON object.
    """
    try:
        held = json.loads(body, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        raise ServiceError("the request is no JSON", code="invalid_request") from None
    if not isinstance(held, dict):
        raise ServiceError("the request is no JSON object", code="invalid_request")
    return held


def _refuse(_constant: str) -> NoReturn:
    raise ValueError("no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


def _exchange(request: Request, caller: Caller, body: dict[str, Any]) -> Exchange:
    service = service_of(request)
    with reading_request():
        asked = Asked.of(body)
    conversation_id = request.headers.get("x-conversation-id") or request.state.request_id
    return Exchange(
        service.guard_for(caller, "chat"), tuple(asked.messages), conversation_id[:256], caller.tenant,
        max_tokens(body), asked.n_choices, service.metrics.hold.observe,
    )  # fmt: skip

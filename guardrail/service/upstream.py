"""The LLM behind the proxy: asked with what was judged and a few headers, heard within limits, closed at once."""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from guardrail.errors import GuardError
from guardrail.service.errors import ServiceError
from guardrail.service.sections import UpstreamSettings
from guardrail.wire.frames import read_json

_ASKED_WITH = ("openai-beta", "openai-organization", "openai-project", "idempotency-key", "traceparent", "tracestate")
"""Headers of a client that the upstream gets."""

_ANSWERED_WITH = re.compile(r"retry-after|openai-(processing-ms|version)|x-ratelimit-[a-z-]{1,40}")
"""Headers of the upstream that a client gets."""

_PLAIN = re.compile(r"[\w.:,-]{1,64}", re.ASCII)
"""What a header or a name in an error may say unread: either can carry text like a body."""


_MODEL = re.compile(r"[\w.:/@-]{1,128}", re.ASCII)


class UpstreamError(GuardError):
    """The upstream answered with an error.

    Attributes:
        unread: what it says; it may quote what the LLM wrote, and must be read before it is passed on.
        headers: of its answer, for the client.
    """

    def __init__(self, held: Any, status: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"the upstream answered with an error (status {status})")
        error = (held.get("error") or held) if isinstance(held, Mapping) else held
        said: Mapping[str, Any] = error if isinstance(error, Mapping) else {"message": error}
        message = said.get("message")
        self.unread = message if isinstance(message, str) else ""
        self.headers = headers or {}
        self._status = status
        self._names = {name: _name(said.get(name)) for name in ("type", "code", "param")}

    def told(self, message: str) -> ServiceError:
        """Return the error as a client is told of it: what OpenAI's envelope has, and nothing else."""
        kind, code, param = self._names.values()
        return ServiceError(message, status=self._status, type=kind or "upstream_error", code=code, param=param)


def _name(value: Any) -> str | None:
    """Return what is too short and plain to say much; None for the rest."""
    return str(value) if value is not None and _PLAIN.fullmatch(str(value)) else None


class Arriving(AsyncIterator[bytes]):
    """The bytes of a response as they arrive; closing it ends the connection, whether or not it has begun."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._bytes = response.aiter_bytes()

    async def __anext__(self) -> bytes:
        with _translated():
            return await anext(self._bytes)

    async def aclose(self) -> None:
        """End the connection."""
        await self._response.aclose()


class Upstream:
    """Asks one server. For one event loop."""

    def __init__(self, settings: UpstreamSettings, client: httpx.AsyncClient) -> None:
        self._settings = settings
        self._client = client

    async def ask(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> httpx.Response:
        """Return the response, of which nothing but the head has been read.

        Args:
            path: below the base URL.
            body: the request.
            headers: of the client.

        Raises:
            ServiceError: 502, it cannot be reached; 504, it did not answer in time.
            UpstreamError: it answered with an error.
        """
        sent = {name: headers[name] for name in _ASKED_WITH if name in headers}
        sent |= {"content-type": "application/json", "accept-encoding": "identity"}
        if authorization := self._authorization(headers):
            sent["authorization"] = authorization
        request = self._client.build_request(
            "POST", path, content=json.dumps(body).encode(), headers=_on_the_wire(sent)
        )
        with _translated():
            response = await self._client.send(request, stream=True)
        if response.status_code != httpx.codes.OK:
            raise await self._error(response)
        return response

    async def model_names(self, headers: Mapping[str, str]) -> list[str]:
        """Return the names of its models; none where it does not tell.

        Args:
            headers: of the client.
        """
        authorization = self._authorization(headers)
        sent = {"authorization": authorization} if authorization else {}
        try:
            with _translated():
                response = await self._client.get("models", headers=_on_the_wire(sent))
            listed = response.json()["data"] if response.status_code == httpx.codes.OK else []
            names = [model["id"] for model in listed]
        except (ServiceError, ValueError, KeyError, TypeError):
            return []
        return [name for name in names if isinstance(name, str) and _MODEL.fullmatch(name)]

    async def read(self, response: httpx.Response) -> dict[str, Any]:
        """Return a whole answer, and end the connection.

        Raises:
            ServiceError: 502, it is too large, or no JSON object.
        """
        try:
            body = bytearray()
            async for data in Arriving(response):
                body += data
                if len(body) > self._settings.max_response_bytes:
                    raise unreadable("the upstream's answer is too large")
        finally:
            await response.aclose()
        try:
            held = read_json(body)
        except (ValueError, RecursionError):
            raise unreadable("the upstream's answer is no JSON") from None
        if not isinstance(held, dict):
            raise unreadable("the upstream's answer is no object")
        return held

    def _authorization(self, headers: Mapping[str, str]) -> str | None:
        if self._settings.forward_authorization:
            return headers.get("authorization")
        key = self._settings.api_key.get_secret_value()
        return f"Bearer {key}" if key else None

    async def _error(self, response: httpx.Response) -> GuardError:
        status = response.status_code
        try:
            held = await self.read(response)
        except ServiceError:
            held = {}
        if status < httpx.codes.BAD_REQUEST:
            return unreadable(f"the upstream answered with status {status}")
        return UpstreamError(held, status, passed_on(response))


def _on_the_wire(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return headers byte by byte as the client sent them: the HTTP client would refuse what is not ASCII."""
    return {name.encode(): value.encode("latin-1") for name, value in headers.items()}


def refuse_error(held: Mapping[str, Any]) -> None:
    """Refuse an answer, or a piece of one, that tells of an error.

    Raises:
        UpstreamError: it does.
    """
    response = held.get("response")
    for one in (held, response if isinstance(response, Mapping) else {}):
        if one.get("error") or one.get("type") == "error":
            raise UpstreamError(one, httpx.codes.BAD_GATEWAY)


def passed_on(response: httpx.Response) -> dict[str, str]:
    """Return the headers of the upstream that a client gets."""
    named = {name: value for name, value in response.headers.items() if _ANSWERED_WITH.fullmatch(name)}
    return {name: value for name, value in named.items() if _PLAIN.fullmatch(value)}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise ServiceError(
            f"the upstream did not answer in time ({type(error).__name__})",
            status=504, type="upstream_error", code="upstream_timeout",
        ) from None  # fmt: skip
    except httpx.HTTPError as error:
        raise ServiceError(
            f"the upstream cannot be reached, or broke off ({type(error).__name__})",
            status=502, type="upstream_error", code="upstream_unreachable",
        ) from None  # fmt: skip


def unreadable(message: str) -> ServiceError:
    """Return the error of an answer of which nothing is passed on."""
    return ServiceError(message, status=502, type="upstream_error", code="upstream_unreadable")


@asynccontextmanager
async def connected(settings: UpstreamSettings | None) -> AsyncGenerator[Upstream | None]:
    """Hold connections to the upstream open; None where there is none."""
    if settings is None:
        yield None
        return
    async with httpx.AsyncClient(
        base_url=settings.base_url,
        timeout=httpx.Timeout(settings.timeout_s, connect=settings.connect_s),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),  # the server bounds requests
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # it serves many tenants: none is kept
    ) as client:
        yield Upstream(settings, client)

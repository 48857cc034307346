"""The clients: an address, a key, and what can be asked."""

from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx

from guardrail.client.asking import ClientError, Conversation, to_body, to_record
from guardrail.client.links import AsyncLink, Link
from guardrail.client.streams import AsyncClientStream, ClientStream
from guardrail.records import Record
from guardrail.stream_protocol import OpenFrame

TIMEOUT_S = 60.0
"""Seconds that a client waits for the service. Our choice: as long as the service waits for its model."""


class _Address:
    """Where a service is, and who asks."""

    def __init__(self, base_url: str, key: str | None, timeout_s: float) -> None:
        url = httpx.URL(base_url.rstrip("/").removesuffix("/v1"))
        if url.scheme not in ("http", "https"):
            raise ClientError("the service's address begins with http:// or https://")
        self._timeout_s = timeout_s
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._moderations = f"{url}".rstrip("/") + "/v1/moderations"
        self._streams = str(url.copy_with(scheme=url.scheme.replace("http", "ws"))).rstrip("/") + "/v1/streams"

    def _socket(self) -> dict[str, Any]:
        return {"url": self._streams, "headers": self._headers, "timeout_s": self._timeout_s}


class Client(_Address):
    """Asks a service, blocking. Safe for many threads; each stream has one caller at a time."""

    def __init__(self, base_url: str, key: str | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        """Connect to nothing yet.

        Args:
            base_url: of the service, such as http://localhost:8000.
            key: API key; None where the service has none.
            timeout_s: seconds without an answer after which a call fails.
        """
        super().__init__(base_url, key, timeout_s)
        self._http = httpx.Client(headers=self._headers, timeout=timeout_s)

    def check_prompt(self, conversation: Conversation, *, conversation_id: str | None = None) -> Record:
        """Judge the last user turn, or the tool results that stand last; return the decision's record.

        Args:
            conversation: one user message as text, or OpenAI's messages.
            conversation_id: for the record, and so that nothing is read twice.

        Raises:
            ClientError: the service failed, refused or cannot be reached.
        """
        return self._check(to_body(conversation, None, conversation_id))

    def check_response(self, conversation: Conversation, text: str, *, conversation_id: str | None = None) -> Record:
        """Judge a finished answer token by token: `text[:record.released_chars]` may be shown.

        Raises:
            ClientError: as `check_prompt`.
        """
        return self._check(to_body(conversation, text, conversation_id))

    def stream(
        self, conversation: Conversation, *, conversation_id: str | None = None, verdicts: bool = True
    ) -> ClientStream:
        """Return a stream for an answer to a conversation; it opens when its context is entered.

        Args:
            conversation: what the LLM answers.
            conversation_id: as in `check_prompt`.
            verdicts: whether every token's verdict is sent.
        """
        return ClientStream(partial(Link.open, **self._socket()), _opening(conversation, conversation_id, verdicts))

    def close(self) -> None:
        """Close the connections; streams have their own."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _check(self, body: dict[str, Any]) -> Record:
        try:
            answer = self._http.post(self._moderations, json=body)
        except httpx.HTTPError as error:
            raise _unreachable(error) from None
        return to_record(answer.status_code, answer.content)


class AsyncClient(_Address):
    """As `Client`, without blocking the event loop. For one event loop."""

    def __init__(self, base_url: str, key: str | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        """As `Client`."""
        super().__init__(base_url, key, timeout_s)
        self._http = httpx.AsyncClient(headers=self._headers, timeout=timeout_s)

    async def check_prompt(self, conversation: Conversation, *, conversation_id: str | None = None) -> Record:
        """As `Client.check_prompt`."""
        return await self._check(to_body(conversation, None, conversation_id))

    async def check_response(
        self, conversation: Conversation, text: str, *, conversation_id: str | None = None
    ) -> Record:
        """As `Client.check_response`."""
        return await self._check(to_body(conversation, text, conversation_id))

    def stream(
        self, conversation: Conversation, *, conversation_id: str | None = None, verdicts: bool = True
    ) -> AsyncClientStream:
        """As `Client.stream`."""
        connect = partial(AsyncLink.open, **self._socket())
        return AsyncClientStream(connect, _opening(conversation, conversation_id, verdicts))

    async def close(self) -> None:
        """As `Client.close`."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def _check(self, body: dict[str, Any]) -> Record:
        try:
            answer = await self._http.post(self._moderations, json=body)
        except httpx.HTTPError as error:
            raise _unreachable(error) from None
        return to_record(answer.status_code, answer.content)


def _opening(conversation: Conversation, conversation_id: str | None, verdicts: bool) -> OpenFrame:
    messages = conversation if isinstance(conversation, str) else [dict(message) for message in conversation]
    return OpenFrame(messages=messages, conversation_id=conversation_id, verdicts=verdicts)


def _unreachable(error: httpx.HTTPError) -> ClientError:
    return ClientError(f"the service cannot be reached: {type(error).__name__}")

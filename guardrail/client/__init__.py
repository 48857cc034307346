"""Asks a guardrail service: checks of prompts and answers, and streams of an LLM's answers.

from guardrail.client import Client

with Client("http://localhost:8000") as client, client.stream("How do I bake bread?") as stream:
    for delta in llm:
        print(stream.feed(delta), end="")
    print(stream.finish())
"""

try:
    import httpx as _httpx  # noqa: F401  # asked for here so that its absence is told in one place
    import websockets as _websockets  # noqa: F401
except ModuleNotFoundError as error:
    from guardrail.errors import MissingExtra

    raise MissingExtra(error.name or "httpx", "service") from error

from guardrail.client.asking import ClientError
from guardrail.client.clients import AsyncClient, Client
from guardrail.client.streams import AsyncClientStream, ClientStream
from guardrail.stream_protocol import StopEvent, VerdictEvent

__all__ = [
    "AsyncClient",
    "AsyncClientStream",
    "Client",
    "ClientError",
    "ClientStream",
    "StopEvent",
    "VerdictEvent",
]

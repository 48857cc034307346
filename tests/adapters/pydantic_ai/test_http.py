"""The framework's OpenAI model with the real client against a real server on this machine, through the capability."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from guardrail import Guard
from guardrail.adapters.pydantic_ai import GuardCapability
from tests.adapters.pydantic_ai.scripted import ANSWER, SAFE, SHOWN, cut, run

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


class Upstream:
    """An OpenAI-compatible server that streams one text slowly.

    Attributes:
        n_pieces: pieces it has sent.
        left: set when the client leaves before the end.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.n_pieces = 0
        self.left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        try:
            for piece in cut(self._text, 2):
                await self._send(writer, {"delta": {"role": "assistant", "content": piece}, "finish_reason": None})
                self.n_pieces += 1
                await asyncio.sleep(0.002)
            await self._send(writer, {"delta": {}, "finish_reason": "stop"})
            writer.write(b"data: [DONE]\n\n")
            await writer.drain()
        except ConnectionError:
            self.left.set()
        finally:
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter, choice: dict[str, Any]) -> None:
        head = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
        writer.write(f"data: {json.dumps({**head, 'choices': [{'index': 0, **choice}]})}\n\n".encode())
        await writer.drain()


@pytest.fixture
async def connect(guard: Guard) -> AsyncIterator[Any]:
    """Start an upstream; give an agent that talks to it through the guard."""
    servers, clients = [], []

    async def start(upstream: Upstream) -> Agent[None, str]:
        server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
        servers.append(server)
        clients.append(client)
        model = OpenAIChatModel("m", provider=OpenAIProvider(openai_client=client))
        return Agent(model, capabilities=[GuardCapability(guard)])

    yield start
    for client in clients:
        await client.close()
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_text_from_a_real_client_ends_before_the_marker(connect: Any) -> None:
    """The released text comes out everywhere, and the server sees its client leave at the stop."""
    upstream = Upstream(ANSWER + SAFE * 20)
    spy = await run(await connect(upstream))
    spy.assert_tight()
    assert spy.output == SHOWN
    await asyncio.wait_for(upstream.left.wait(), 5)
    assert upstream.n_pieces < len(ANSWER)


async def test_fifty_streams_at_once_share_nothing(connect: Any) -> None:
    """Clean and stopped answers through real connections: each run gets its own."""
    texts = [ANSWER if i % 2 else f"{SAFE} {i}" for i in range(50)]
    spies = await asyncio.gather(*[run(await connect(Upstream(text))) for text in texts])
    for i, spy in enumerate(spies):
        spy.assert_tight()
        assert spy.output == (SHOWN if i % 2 else texts[i])

"""The real client of the SDK against a real server on this machine, through `GuardedModel`."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agents import Agent, OpenAIChatCompletionsModel, function_tool
from openai import AsyncOpenAI

from guardrail import Guard
from guardrail.adapters.openai_agents import GuardedModel, tool_guardrails
from tests.adapters.openai_agents.scripted import ANSWER, SAFE, SHOWN, Traces, cut, run

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"


class Upstream:
    """An OpenAI-compatible server: it writes its turns in pieces of `size` characters, slowly, or whole.

    Attributes:
        turns: each a text, or the arguments of a call of the tool "bake".
        asked: bodies of the requests.
        n_pieces: pieces it has sent.
        left: set when a client leaves before the end.
    """

    def __init__(self, turns: list[str | dict[str, Any]], size: int = 2) -> None:
        self.turns = turns
        self.size = size
        self.asked: list[Any] = []
        self.n_pieces = 0
        self.left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        self.asked.append(json.loads(await reader.readexactly(length)))
        turn = self.turns[min(len(self.asked), len(self.turns)) - 1]
        is_streamed = self.asked[-1].get("stream", False)
        try:
            await (self._stream(turn, writer) if is_streamed else self._whole(turn, writer))
        except ConnectionError:
            self.left.set()
        finally:
            writer.close()

    async def _stream(self, turn: str | dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD.format(kind="text/event-stream").encode())
        text = turn if isinstance(turn, str) else json.dumps(turn)
        for number, piece in enumerate(cut(text, self.size)):
            delta = (
                {"content": piece}
                if isinstance(turn, str)
                else {"tool_calls": [self._call(piece, is_first=not number)]}
            )
            await self._send(writer, {"delta": {"role": "assistant", **delta}, "finish_reason": None})
            self.n_pieces += 1
            await asyncio.sleep(0.002)
        await self._send(writer, {"delta": {}, "finish_reason": "stop" if isinstance(turn, str) else "tool_calls"})
        writer.write(b"data: [DONE]\n\n")
        await writer.drain()

    async def _send(self, writer: asyncio.StreamWriter, choice: dict[str, Any]) -> None:
        chunk = {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": "m",
            "choices": [{"index": 0, **choice}],
        }
        writer.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await writer.drain()

    async def _whole(self, turn: str | dict[str, Any], writer: asyncio.StreamWriter) -> None:
        text = turn if isinstance(turn, str) else None
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if isinstance(turn, dict):
            message["tool_calls"] = [self._call(json.dumps(turn), is_first=True)]
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        writer.write((HEAD.format(kind="application/json") + json.dumps(body)).encode())
        await writer.drain()

    def _call(self, arguments: str, *, is_first: bool) -> dict[str, Any]:
        begun = {"id": f"call-{len(self.asked)}", "type": "function"} if is_first else {}
        name = {"name": "bake"} if is_first else {}
        return {"index": 0, **begun, "function": {**name, "arguments": arguments}}


@pytest.fixture
async def connect(guard: Guard) -> AsyncIterator[Any]:
    """Start an upstream; give an agent that talks to it through the guard."""
    servers, clients = [], []

    async def start(upstream: Upstream, **options: Any) -> Agent[Any]:
        server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
        servers.append(server)
        clients.append(client)
        return Agent("baker", model=GuardedModel(OpenAIChatCompletionsModel("m", client), guard), **options)

    yield start
    for client in clients:
        await client.close()
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("streamed", [False, True])
async def test_text_from_a_real_client_ends_before_the_marker(connect: Any, traces: Traces, streamed: bool) -> None:
    """The released text comes out everywhere, and the server sees its client leave at the stop."""
    upstream = Upstream([ANSWER + SAFE * 20])
    spy = await run(await connect(upstream), streamed=streamed)
    spy.assert_tight(traces.exported)
    assert spy.output == SHOWN
    if streamed:
        assert "".join(spy.deltas) == SHOWN
        await asyncio.wait_for(upstream.left.wait(), 5)
        assert upstream.n_pieces < len(ANSWER)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_call_from_a_real_client_is_refused(connect: Any, guard: Guard, traces: Traces, streamed: bool) -> None:
    """The next request tells the LLM why, and holds nothing of the call but its name."""
    ran: list[str] = []

    @function_tool(**tool_guardrails(guard))
    def bake(what: str) -> str:
        """Bake."""
        ran.append(what)
        return "done"

    upstream = Upstream([{"what": "☠☠ forbidden"}, {"what": "bread"}, SAFE])
    spy = await run(await connect(upstream, tools=[bake]), streamed=streamed)
    spy.assert_tight(traces.exported, upstream.asked)
    assert spy.output == SAFE
    assert ran == ["bread"]
    told = [message["content"] for message in upstream.asked[1]["messages"] if message["role"] == "tool"]
    assert told == [guard.policy.call_message("Violent")]


async def test_fifty_streams_at_once_share_nothing(connect: Any) -> None:
    """Clean and stopped answers through real connections: each run gets its own."""
    upstreams = [Upstream([ANSWER if i % 2 else f"{SAFE} {i}"], size=8) for i in range(50)]
    spies = await asyncio.gather(*[run(await connect(upstream)) for upstream in upstreams])
    for i, spy in enumerate(spies):
        spy.assert_tight()
        assert spy.output == (SHOWN if i % 2 else f"{SAFE} {i}")

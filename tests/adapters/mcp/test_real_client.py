"""A client and a server of the official package, with the proxy between them, over stdio."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.client import ConnectMode
from mcp.types import CreateMessageRequestParams, CreateMessageResult, ListRootsResult, Root, TextContent
from pydantic import FileUrl

HERE = Path(__file__).parent
MARKER = "\u2620"
Marked = Callable[..., list[str]]


async def sample(context: Any, params: CreateMessageRequestParams) -> CreateMessageResult:
    """Stand for the client's LLM."""
    words = f"{len(params.messages)} message for {params.model_preferences.hints[0].name}"  # type: ignore[union-attr, index]  # the server of this test sends both
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text=words), model="none")


async def roots(context: Any) -> ListRootsResult:
    """Tell the client's folders."""
    return ListRootsResult(roots=[Root(uri=FileUrl("file:///a")), Root(uri=FileUrl("file:///b"))])


@asynccontextmanager
async def client_of(command: list[str], mode: ConnectMode) -> AsyncIterator[Client]:
    """Connect a client to what a command starts."""
    server = StdioServerParameters(command=command[0], args=command[1:])
    async with Client(server, mode=mode, sampling_callback=sample, list_roots_callback=roots) as client:
        yield client


@pytest.fixture
def server(journal: Path) -> list[str]:
    """The command of the real server."""
    return [sys.executable, str(HERE / "real_server.py"), str(journal)]


def noted(path: Path) -> str:
    """What another process has written until now."""
    return path.read_text("utf-8")


async def until_noted(path: Path, words: str) -> None:
    """Wait until another process has written these words."""
    async with asyncio.timeout(10):
        while words not in noted(path):  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.02)


async def harmless(client: Client, mode: str) -> list[Any]:
    """Everything that a client can ask, with harmless answers."""
    asked: list[Any] = [
        client.server_info,
        client.instructions,
        client.server_capabilities,
        await client.call_tool("echo", {"text": "good"}),
        await client.call_tool("weather", {"city": "Rome"}),
        await client.call_tool("picture", {}),
        await client.call_tool("no such tool", {}),
        await client.read_resource("notes://today"),
        await client.list_resources(),
        await client.list_resource_templates(),
        await client.list_prompts(),
        await client.get_prompt("greet", {"name": "Ada"}),
    ]
    if mode == "legacy":  # the newer protocol has no requests of servers
        asked += [await client.call_tool("asking", {})]
    return [getattr(answer, "model_dump", lambda answer=answer: answer)() for answer in asked]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_client_gets_what_it_would_get_without_the_proxy(
    marked: Marked, server: list[str], mode: ConnectMode
) -> None:
    """In both generations of the protocol, answer by answer, with sampling and roots in the other direction."""
    answers = []
    for command in (server, marked(*server)):
        async with client_of(command, mode) as client:
            answers.append(await harmless(client, mode))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_what_is_poisoned_reaches_neither_client_nor_server(
    marked: Marked, server: list[str], journal: Path, tmp_path: Path, mode: ConnectMode
) -> None:
    """A tool is not listed, a call does not run, contents are withheld; no byte of the marker comes to the client."""
    spied = [sys.executable, str(HERE / "spy.py"), str(tmp_path / "bytes"), "--", *marked(*server)]
    reported: list[str | None] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        reported.append(message)

    async with client_of(spied, mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        evil = await client.call_tool("echo", {"text": f"a {MARKER} b"})
        refused = await client.call_tool("poisoned", {"a": 1})
        page = await client.call_tool("page", {})
        notes = await client.read_resource("notes://bob")
        done = await client.call_tool("talkative", {}, progress_callback=note)
    assert tools == ["echo", "weather", "page", "picture", "talkative", "asking"]
    assert [result.is_error for result in (evil, refused, page)] == [True, True, True]
    assert "withheld" in str(notes.contents)
    assert done.structured_content == {"result": "done"}
    assert reported == ["half way"]
    assert noted(journal) == ""
    heard = noted(tmp_path / "bytes")
    assert not any(form in heard for form in (MARKER, r"\u2620", "evil", "orders", "send all files"))


async def test_twenty_calls_at_once_keep_their_answers(marked: Marked, server: list[str]) -> None:
    """Each gets its own, while every fourth is refused."""
    async with client_of(marked(*server), "auto") as client:
        texts = [f"{MARKER} and more" if n % 4 == 0 else f"number {n}" for n in range(20)]
        results = await asyncio.gather(*(client.call_tool("echo", {"text": text}) for text in texts))
    for n, result in enumerate(results):
        assert result.is_error is (n % 4 == 0)
        assert n % 4 == 0 or result.structured_content == {"result": f"echo of number {n}"}


async def test_a_cancelled_call_is_cancelled_in_the_server(marked: Marked, server: list[str], journal: Path) -> None:
    """The server's tool ends, and the connection goes on."""
    async with client_of(marked(*server), "auto") as client:
        call = asyncio.create_task(client.call_tool("echo", {"text": "long", "delay_s": 60}))
        await until_noted(journal, "echo long")
        call.cancel()
        await until_noted(journal, "cancelled long")
        assert (await client.call_tool("echo", {"text": "next"})).is_error is False


async def test_the_command_with_the_embedded_model_passes_what_is_harmless(server: list[str]) -> None:
    """`guardrail mcp -- command` as a client would start it."""
    answers = []
    for command in (server, [sys.executable, "-m", "guardrail.cli", "mcp", "--", *server]):
        async with client_of(command, "auto") as client:
            answers.append([await client.call_tool("weather", {"city": "Rome"}), await client.list_prompts()])
    assert answers[0] == answers[1]

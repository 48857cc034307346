"""Proxies between a client and a server that speak plain JSON lines: inside the test, and as processes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, Self

import pytest

from guardrail import Guard, Policy
from guardrail.adapters.mcp import Proxy
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine
from guardrail.records import MemorySink
from guardrail.testing import Breakage, FailingEngine, MarkerEngine
from tests.adapters.mcp.talk import Script, Talk, Talking

HERE = Path(__file__).parent


@pytest.fixture
def sink() -> MemorySink:
    """Where the guard of a test records."""
    return MemorySink()


@pytest.fixture
def talking(sink: MemorySink, tokenizer: GuardTokenizer) -> Talking:
    """Make a proxy whose guard stops at the marker, before a scripted server; keywords change the policy."""

    @asynccontextmanager
    async def make(script: Script, *, breakage: Breakage | None = None, **changes: Any) -> AsyncIterator[Talk]:
        engine: Engine = MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")})
        if breakage:
            engine = FailingEngine(engine, at_step=0, breakage=breakage)
        guard = Guard(engine, tokenizer, policy=Policy(**changes), sinks=[sink])
        talk = Talk(script)
        ends = [(end.incoming(), end) for end in (talk.client, talk.server)]
        proxy = asyncio.create_task(Proxy(guard, *ends).run())
        server = asyncio.create_task(talk.serve())
        yield talk
        talk.client.leave()
        server.cancel()
        assert await asyncio.wait_for(proxy, 10) is False

    return make


class RawClient:
    """A client of a proxy process, without a library."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.heard = b""
        self._errors = b""
        self._lines: Queue[bytes] = Queue()
        self._readers = [Thread(target=self._read), Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def say(self, *messages: Any) -> None:
        """Write messages."""
        assert self.process.stdin
        for message in messages:
            self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """Return the next message; None at the end."""
        line = self._lines.get(timeout=20)
        return json.loads(line) if line else None

    def leave(self) -> int:
        """Close the input, wait for the end and return the exit code."""
        assert self.process.stdin
        self.process.stdin.close()
        return self.end()

    def end(self) -> int:
        """Wait for the proxy's end and all that it still says; return the exit code."""
        code = self.process.wait(timeout=20)
        for reader in self._readers:
            reader.join(20)
        return code

    @property
    def errors(self) -> str:
        """What the proxy and the server wrote to stderr until now."""
        return self._errors.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.end()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.heard += line
            self._lines.put(line)
        self._lines.put(b"")

    def _read_errors(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._errors += line


@pytest.fixture
def marked(tmp_path: Path) -> Callable[..., list[str]]:
    """Make the command of a proxy process whose guard stops at the marker."""

    def make(*server: str) -> list[str]:
        return [sys.executable, str(HERE / "marked_proxy.py"), str(tmp_path / "records.jsonl"), "--", *server]

    return make


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where a server process notes what it got."""
    path = tmp_path / "journal"
    path.touch()
    return path


@pytest.fixture
def connect(marked: Callable[..., list[str]], journal: Path) -> Iterator[Callable[..., RawClient]]:
    """Connect a raw client through a proxy process to a stubborn server."""
    with ExitStack() as stack:

        def make(*command: str, server: bool = True, after: tuple[str, ...] = ()) -> RawClient:
            stubborn = [sys.executable, str(HERE / "stubborn_server.py"), str(journal), *after] if server else []
            return stack.enter_context(RawClient([*command, *stubborn] if command else marked(*stubborn)))

        yield make

"""The proxy over this process's stdin and stdout."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

import anyio
from mcp.server.stdio import stdio_server

from guardrail.adapters.mcp.child import serving
from guardrail.adapters.mcp.proxy import Incoming, Outgoing, Proxy
from guardrail.guard import Guard

_log = logging.getLogger("guardrail")


def run_proxy(guard: Guard, command: Sequence[str]) -> int:
    """Serve MCP over stdin and stdout by a server process until either side is gone.

    Args:
        guard: judges.
        command: starts the server.

    Returns:
        The server's exit code if it ended by itself, 0 if the client left.

    Raises:
        ConfigurationError: the command cannot be started.
        KeyboardInterrupt: the process was interrupted or terminated; the server is gone by then.
    """
    # a client ends us with SIGTERM: treated as Ctrl-C, so that the server is stopped first, also where a shell that
    # starts programs in the background has let Ctrl-C be ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    return anyio.run(_serve, guard, command)


async def _serve(guard: Guard, command: Sequence[str]) -> int:
    server_ended = False
    async with serving(command) as server:
        try:
            async with _own_stdio() as client:
                server_ended = await Proxy(guard, client, (server.messages(), server)).run()
        except* (BrokenPipeError, ConnectionResetError):
            _log.info("the client is gone")
    if server_ended:
        _log.info("the server ended with exit code %d", server.exit_code)
    return server.exit_code if server_ended else 0


@asynccontextmanager
async def _own_stdio() -> AsyncIterator[tuple[Incoming, Outgoing]]:
    """Open the official transport, with lines that can be left while no line comes: its own reader waits for one."""
    lines = _Lines()
    async with stdio_server(stdin=cast("anyio.AsyncFile[str]", lines)) as (incoming, outgoing):
        try:
            yield incoming, outgoing
        finally:
            lines.close()
            await outgoing.aclose()  # ends the writer once all is written
            with anyio.CancelScope(shield=True):
                async for _ in incoming:  # until the reader has ended
                    pass


class _Lines:
    """Lines of stdin, read by a thread that nobody waits for at the end."""

    def __init__(self) -> None:
        # no bound: a client that does not wait for answers fills it, as it would fill the pipe
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, daemon=True, name="guardrail stdin").start()

    def close(self) -> None:
        """End the iteration."""
        self._queue.put_nowait(None)

    def __aiter__(self) -> "_Lines":
        return self

    async def __anext__(self) -> str:
        line = await self._queue.get()
        if line is None:
            raise StopAsyncIteration
        return line

    def _read(self) -> None:
        # not sys.stdin's buffer: the interpreter could not end while a thread waits inside it
        with os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8", errors="replace") as file, suppress(RuntimeError):
            for line in file:
                self._put(line)
            self._put(None)

    def _put(self, line: str | None) -> None:
        """Hand over a line; raises RuntimeError when the loop is closed."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, line)

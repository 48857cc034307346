"""The wrapped server: a process of its own, spoken to over its pipes, and gone when the proxy is gone."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.shared.message import SessionMessage
from mcp.types.jsonrpc import jsonrpc_message_adapter

from guardrail.errors import ConfigurationError

MAX_LINE = 64 * 2**20
"""Bytes of one message at most; a server that writes more without an end is taken to be broken. Our choice."""

GRACE_S = 0.8
"""Seconds that a server gets to end by itself when its input closes, and again when it is terminated: together less
than the 2 s that the official client gives the proxy before it ends it."""


class ServerProcess:
    """A running server. The official package's stdio client would do if it told the exit code."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._stdin, self._stdout = cast("ByteSendStream", process.stdin), cast("ByteReceiveStream", process.stdout)
        # no bound: a server that reads nothing must not keep us from hearing that the client has left
        self._unsent: asyncio.Queue[bytes | None] = asyncio.Queue()

    @property
    def exit_code(self) -> int:
        """How the process ended: its code, or as shells have it, 128 and the signal."""
        code = self._process.returncode or 0
        return code if code >= 0 else 128 - code

    async def send(self, item: SessionMessage) -> None:
        """Take one message for the server."""
        self._unsent.put_nowait(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")

    async def write(self) -> None:
        """Write what was sent until `stop`, then close the server's input; end a server that takes no more."""
        try:
            while (line := await self._unsent.get()) is not None:
                await self._stdin.send(line)
            await self._stdin.aclose()
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            _end(self._process)

    async def messages(self) -> AsyncIterator[SessionMessage | Exception]:
        """Yield what the server writes until it closes its output; an exception for a line that is no message."""
        lines = BufferedByteReceiveStream(self._stdout)
        while True:
            try:
                line = await lines.receive_until(b"\n", MAX_LINE)
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound, anyio.BrokenResourceError):
                return
            yield _parsed(line)

    async def stop(self) -> None:
        """Close its input, wait, and end it with all that it started, harder each time."""
        self._unsent.put_nowait(None)
        for hard in (False, True):
            if await self._ends():
                return
            _end(self._process, hard=hard)
        await self._ends()

    async def _ends(self) -> bool:
        """Wait for the exit only: `wait()` also waits for pipes, which a grandchild may hold open."""
        with anyio.move_on_after(GRACE_S):
            while self._process.returncode is None:  # noqa: ASYNC110 - nothing else tells the exit alone
                await anyio.sleep(0.01)
        return self._process.returncode is not None


@asynccontextmanager
async def serving(command: Sequence[str]) -> AsyncIterator[ServerProcess]:
    """Run a server while the context lasts. Its stderr is ours.

    Raises:
        ConfigurationError: the command cannot be started.
    """
    program = shutil.which(command[0]) or command[0]
    try:
        process = await anyio.open_process([program, *command[1:]], stderr=None, start_new_session=True)
    except OSError as error:
        raise ConfigurationError(f"{command[0]} cannot be started: {error.strerror}") from error
    server = ServerProcess(process)
    writing = asyncio.create_task(server.write())
    try:
        yield server
    finally:
        with anyio.CancelScope(shield=True):
            await server.stop()
        writing.cancel()


def _parsed(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


def _end(process: Process, *, hard: bool = False) -> None:
    """End the process and what it started: they are a session of their own."""
    if sys.platform == "win32":
        process.kill()
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL if hard else signal.SIGTERM)

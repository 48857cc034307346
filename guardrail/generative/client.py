"""Requests to an OpenAI-compatible server, from threads and event loops alike: one thread of its own does them all.

So a connection serves whoever asks, a hundred questions wait in one thread, and a cancelled one ends at once.
"""

import asyncio
import json
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any
from weakref import finalize

from guardrail.errors import ConfigurationError, EngineError, EngineOverloaded, EngineTimeout, MissingExtra

try:
    import httpx
except ModuleNotFoundError as error:
    raise MissingExtra("httpx", "service") from error

MAX_ANSWER_BYTES = 2**20
"""Longest answer that is read: a verdict takes a few kilobytes. Ours."""

_AGAIN = frozenset({429, 500, 502, 503, 504})
_BUSY = frozenset({429, 503})
_HINTS = {
    401: "check the API key",
    403: "check the API key",
    404: "check base_url, the model's name and the mode",
    400: "the prompt may be too long for the server: lower max_chars",
    413: "the prompt may be too long for the server: lower max_chars",
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        timeout_s: seconds for one question, all attempts together.
        retries: further attempts after a connection that failed, a 429 or a 5xx.
        pause_s: seconds before the first further attempt; each later one waits twice as long.
    """

    timeout_s: float = 30.0
    retries: int = 2
    pause_s: float = 0.25

    def __post_init__(self) -> None:
        if self.timeout_s <= 0 or self.retries < 0:
            raise ConfigurationError(f"timeout_s = {self.timeout_s} or retries = {self.retries} cannot work")


class Client:
    """Posts JSON. Safe for many threads and event loops; not after a fork."""

    def __init__(
        self, base_url: str, api_key: str, patience: Patience, *, max_answer_bytes: int = MAX_ANSWER_BYTES
    ) -> None:
        """Connect with the first request.

        Args:
            base_url: what paths are put behind.
            api_key: sent as a bearer token; empty sends none.
            patience: with the server.
            max_answer_bytes: longest answer that is read.
        """
        self._base_url, self._patience, self._max_answer_bytes = base_url.rstrip("/"), patience, max_answer_bytes
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: httpx.AsyncClient | None = None

    def post(self, path: str, body: Mapping[str, Any]) -> "Future[Any]":
        """Return a future of the answer's JSON; it ends with an EngineError if there is none."""
        try:
            with self._lock:
                loop = self._running()
                return asyncio.run_coroutine_threadsafe(self._posting(path, body), loop)
        except EngineError as error:
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed

    def close(self) -> None:
        """Withdraw what is under way and close all connections; closing twice is harmless."""
        with self._lock:
            self._is_closed = True
            loop, self._loop = self._loop, None
        if loop:
            self._stop()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._is_closed:
            raise EngineError("the endpoint was closed")
        if os.getpid() != self._pid:
            raise EngineError("the endpoint was opened before a fork; open it in each process")
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._connections = httpx.AsyncClient(headers=self._headers, timeout=self._patience.timeout_s)
            thread = threading.Thread(target=self._loop.run_forever, name="guardrail-endpoint", daemon=True)
            thread.start()
            self._stop = finalize(self, _stop, self._pid, self._loop, thread, self._connections)
        return self._loop

    async def _posting(self, path: str, body: Mapping[str, Any]) -> Any:
        patience = self._patience
        try:
            async with asyncio.timeout(patience.timeout_s):
                for attempt in range(patience.retries):
                    try:
                        return await self._attempt(path, body)
                    except _Retryable:
                        await asyncio.sleep(patience.pause_s * 2**attempt)
                return await self._attempt(path, body)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise EngineTimeout(f"the endpoint did not answer within {patience.timeout_s:g} s") from error
        except _Retryable as error:
            raise error.said from error.__cause__

    async def _attempt(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the answer's JSON.

        Raises:
            _Retryable: another attempt may succeed.
        """
        if self._connections is None:
            raise EngineError("the endpoint was closed")
        try:
            async with self._connections.stream("POST", f"{self._base_url}/{path}", json=body) as response:
                return _read(response.status_code, await _limited(response, self._max_answer_bytes))
        except httpx.TimeoutException:
            raise
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise _Retryable(EngineError(f"the endpoint cannot be reached: {type(error).__name__}")) from error


class _Retryable(Exception):
    """A failure after which another attempt may succeed."""

    def __init__(self, said: EngineError) -> None:
        super().__init__()
        self.said = said


async def _limited(response: httpx.Response, most: int) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > most:
            raise EngineError(f"the endpoint's answer is longer than {most} bytes")
    return bytes(body)


def _read(status: int, body: bytes) -> Any:
    if status != httpx.codes.OK:
        kind = EngineOverloaded if status in _BUSY else EngineError
        said = kind(f"the endpoint answered {status}", hint=_HINTS.get(status, ""))
        raise _Retryable(said) if status in _AGAIN else said
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EngineError(f"the endpoint's answer of {len(body)} bytes is no JSON") from error


def _stop(pid: int, loop: asyncio.AbstractEventLoop, thread: threading.Thread, connections: httpx.AsyncClient) -> None:
    """End a thread's event loop, what runs in it first; a forked child has no such thread."""
    if os.getpid() != pid:
        return
    if threading.current_thread() is thread:  # found to be garbage in there: nobody could wait for it
        loop.stop()
        return

    async def end() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await connections.aclose()

    asyncio.run_coroutine_threadsafe(end(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()

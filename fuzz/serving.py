"""The service in this process, without sockets or threads: requests in, answers out, an upstream that says anything."""

import asyncio
import atexit
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import httpx

from fuzz.shaping import strict_json, strings
from guardrail import Guard
from guardrail.policy import Policy, Rules
from guardrail.service import Settings, create_app
from guardrail.service.chat import Proxy
from guardrail.service.sections import UpstreamSettings
from guardrail.service.upstream import Upstream
from guardrail.testing import MarkerEngine, default_tokenizer

T = TypeVar("T")

TOKENIZER = default_tokenizer()

MARKER = "☠"
"""From it on every token is risky: it never leaves."""
BAD = f"{MARKER} forbidden alder12"
BEHIND = "alder12"
"""Stands behind a marker only."""
SECRET = "rowan77"  # noqa: S105 - a word
"""In what clients send; no error repeats it."""

POLICY = Policy(response=Rules(debounce=1))
"""A lone risky token stops: then a marker that ends a text never leaves either."""

JSON_HEADERS = ((b"host", b"localhost"), (b"content-type", b"application/json"))


def is_risky(text: str) -> bool:
    """Whether a text holds what must never leave."""
    return MARKER in text or BEHIND in text


class Inline(ThreadPoolExecutor):
    """Runs what it is given at once, in the thread that gives it: faster here, and every run is alike."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it."""
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - as the executor does: it belongs to who waits
            done.set_exception(error)
        return done


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop whose worker threads are none, and which is closed with the process."""
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    loop.set_default_executor(Inline())
    return loop


def marked_guard(policy: Policy = POLICY) -> Guard:
    """Return a guard that stops at the marker."""
    return Guard(MarkerEngine(TOKENIZER, {MARKER: ("Unsafe", "Violent")}), TOKENIZER, policy=policy)


@dataclass(frozen=True, slots=True)
class Said:
    """What the upstream says to the next requests.

    Attributes:
        pieces: bytes of the body as they arrive.
        status: HTTP's.
        headers: of the answer.
        breaks: whether the connection breaks behind them.
    """

    pieces: tuple[bytes, ...] = ()
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"text/event-stream"),)
    breaks: bool = False


class ScriptedLine(httpx.AsyncBaseTransport):
    """The network below the HTTP client: it answers what it was told to.

    Attributes:
        said: the answer.
    """

    def __init__(self) -> None:
        self.said = Said()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:  # noqa: ARG002 - httpx's signature
        """Answer."""
        return httpx.Response(self.said.status, headers=self.said.headers, stream=_Body(self.said))


class _Body(httpx.AsyncByteStream):
    def __init__(self, said: Said) -> None:
        self._said = said

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._said.pieces:
            yield piece
        if self._said.breaks:
            raise httpx.ReadError("broken")


@dataclass(slots=True)
class Answer:
    """What came back.

    Attributes:
        status: HTTP's; 0 without any.
        headers: of the answer.
        body: all of it.
    """

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""

    @property
    def values(self) -> list[Any]:
        """The JSON in the body, or in each of its frames; JSON that strict readers refuse is an AssertionError."""
        kind = self.headers.get(b"content-type", b"")
        if kind.startswith(b"text/event-stream"):
            lines = self.body.decode().split("\n")
            payloads = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
            return [strict_json(payload) for payload in payloads if payload != "[DONE]"]
        return [strict_json(self.body)] if kind.startswith(b"application/json") else []


class _Bugs(logging.Handler):
    """Keeps where the server's bugs came from: its answers do not tell."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.lines.append(record.getMessage())


class Service:
    """The application, started; for one thread.

    Attributes:
        line: what the upstream says.
    """

    def __init__(self) -> None:
        self.loop = new_loop()
        self.app = create_app(Settings(), guard=marked_guard())
        self.line = ScriptedLine()
        self._bugs = _Bugs()
        logger = logging.getLogger("guardrail.service")
        logger.addHandler(self._bugs)
        logger.propagate = False
        self._lifespan = self.app.router.lifespan_context(self.app)
        self.run(self._lifespan.__aenter__())
        atexit.register(self._stop)
        settings = UpstreamSettings(base_url="http://upstream/v1", timeout_s=5)
        client = httpx.AsyncClient(base_url=settings.base_url, transport=self.line)
        self.app.state.proxy = Proxy(Upstream(settings, client))

    def run(self, work: Awaitable[T]) -> T:
        """Return what work comes to."""
        return self.loop.run_until_complete(work)

    def ask(
        self,
        path: str,
        *pieces: bytes,
        method: str = "POST",
        headers: tuple[tuple[bytes, bytes], ...] = JSON_HEADERS,
        query: bytes = b"",
        leaves: bool = False,
    ) -> Answer:
        """Return the answer to a request: no 500, no traceback, and no word of the request in an error."""
        answer = Answer()
        self._bugs.lines.clear()
        client = _Client(pieces, leaves=leaves)
        self.run(self.app(self._scope(path, method, headers, query), client.receive, _sending(answer)))
        assert answer.status, "no answer"
        assert answer.status != 500, f"500: {self._bugs.lines or answer.body!r}"
        assert not self._bugs.lines, f"a bug behind an answer: {self._bugs.lines}"
        check_error(answer)
        return answer

    def _stop(self) -> None:
        self.run(self._lifespan.__aexit__(None, None, None))

    def talk(self, frames: Sequence[bytes | str]) -> list[Any]:
        """Return the events of the stream API's WebSocket for these frames, to the end of the connection."""
        socket = _Socket(frames)
        self._bugs.lines.clear()
        scope = {**self._scope("/v1/streams", "GET", JSON_HEADERS, b""), "type": "websocket", "subprotocols": []}
        self.run(self.app(scope, socket.receive, socket.send))
        assert not self._bugs.lines, f"a bug behind a socket: {self._bugs.lines}"
        return [strict_json(text) for text in socket.sent]

    def _scope(self, path: str, method: str, headers: tuple[tuple[bytes, bytes], ...], query: bytes) -> dict[str, Any]:
        return {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": query, "root_path": "", "headers": list(headers),
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "state": {},
        }  # fmt: skip


class _Client:
    """Sends a request's body; then it stays until it has its answer, or leaves."""

    def __init__(self, pieces: tuple[bytes, ...], *, leaves: bool) -> None:
        self._left = list(pieces or (b"",))
        self._leaves = leaves

    async def receive(self) -> dict[str, Any]:
        """Return ASGI's next message."""
        if self._left:
            body = self._left.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(self._left)}
        if self._leaves:
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")


class _Socket:
    """A client's WebSocket: it sends its frames, waits a little, and leaves."""

    def __init__(self, frames: Sequence[bytes | str]) -> None:
        self._left: list[dict[str, Any]] = [{"type": "websocket.connect"}]
        self._left += [
            {"type": "websocket.receive", "text" if isinstance(frame, str) else "bytes": frame} for frame in frames
        ]
        self.sent: list[str] = []
        self._is_closed = False

    async def receive(self) -> dict[str, Any]:
        """Return ASGI's next message."""
        if self._left and not self._is_closed:
            return self._left.pop(0)
        for _ in range(_TURNS):
            if self._is_closed:
                break
            await asyncio.sleep(0)
        return {"type": "websocket.disconnect", "code": 1005}

    async def send(self, message: Any) -> None:
        """Take one of the server's."""
        if message["type"] == "websocket.send":
            assert not self._is_closed, "a frame behind the end"
            self.sent.append(message["text"])
        self._is_closed = self._is_closed or message["type"] == "websocket.close"


_TURNS = 100
"""Of the event loop, in which a server that runs inline comes to the end of anything."""


def _sending(answer: Answer) -> Callable[[Any], Awaitable[None]]:
    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], dict(message["headers"])
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")

    return send


def check_error(answer: Answer) -> None:
    """An error is told in OpenAI's envelope, without a word of what was sent."""
    if answer.status >= 400:
        (told,) = answer.values
        assert isinstance(told["error"]["message"], str)
        assert SECRET not in answer.body.decode()


def check_no_leak(answer: Answer) -> None:
    """No marker left, whole or escaped, nor what stands behind one."""
    for name, value in answer.headers.items():
        assert BEHIND.encode() not in name + value
    assert MARKER.encode() not in answer.body
    for value in answer.values:
        for _, text in strings(value):
            assert not is_risky(text), f"a marker left with status {answer.status}"


def with_policy(guard: Guard, **changes: Any) -> Guard:
    """Return the guard with a changed policy."""
    return guard.with_policy(replace(guard.policy, **changes))


def dumped(value: Any) -> bytes:
    """Return JSON as clients send it."""
    return json.dumps(value).encode("utf-8", "surrogatepass")

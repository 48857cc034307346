"""The upstream: a local OpenAI-compatible server whose every answer is the canary, for a gateway to be pointed at."""

import json
import select
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self

from guardrail.leaktest.canary import Canary
from guardrail.leaktest.drive import Meter

MODEL = "canary"
"""Name of the model that the upstream says it is; it answers to every name."""


class Upstream:
    """Serves `/v1/chat/completions` and `/v1/models` while it is open. Counts the tokens each caller waited for.

    Attributes:
        meter: counts the tokens; replaced by `restart_count`.
    """

    def __init__(self, canary: Canary, *, host: str = "127.0.0.1", port: int = 0, pace_s: float = 0.005) -> None:
        """Bind the port.

        Args:
            canary: the answer.
            host: address to listen on.
            port: 0 takes a free one.
            pace_s: seconds between two tokens. Without a pace the whole answer lies in the sockets' buffers before a
                gateway can stop it, and nothing could be learned about stopping.

        Raises:
            OSError: the port is taken.
        """
        self.meter: Meter = Meter()
        self.canary = canary
        self.pace_s = pace_s
        self._server = _Server((host, port), self)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """What a gateway takes as its base URL."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/v1"

    def restart_count(self) -> Meter:
        """Count anew; answers still under way go on counting for the old meter."""
        self.meter = Meter()
        return self.meter

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], upstream: Upstream) -> None:
        super().__init__(address, _Handler)
        self.upstream = upstream


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the log is one of the outlets."""

    def do_GET(self) -> None:
        self._answer({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "leaktest"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        upstream = self.server.upstream
        tokens = _while_connected(self.connection, upstream.meter.tokens(upstream.canary), upstream.pace_s)
        if body.get("stream"):
            self._stream(tokens)
        elif len(written := list(tokens)) == len(upstream.canary.tokens):
            message = {"role": "assistant", "content": "".join(written)}
            self._answer(_completion("chat.completion", {"message": message, "finish_reason": "stop"}))
        self.close_connection = True

    def _stream(self, tokens: Iterator[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for token in tokens:
                self._event(_delta({"role": "assistant", "content": token}))
            self._event(_delta({}, "stop"))
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.close_connection = True

    def _event(self, data: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())

    def _answer(self, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _while_connected(connection: socket.socket, tokens: Iterator[str], pace_s: float) -> Iterator[str]:
    """Yield tokens at a pace until the caller has closed the connection."""
    for token in tokens:
        time.sleep(pace_s)
        if select.select([connection], [], [], 0)[0] and not connection.recv(1, socket.MSG_PEEK):
            return
        yield token


def _completion(kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-canary",
        "object": kind,
        "created": int(time.time()),
        "model": MODEL,
        "choices": [{"index": 0, "finish_reason": None, **choice}],
    }


def _delta(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return _completion("chat.completion.chunk", {"delta": delta, "finish_reason": finish_reason})

"""A gateway of a hundred lines for libraries that bring none: it answers chat completions with what a generator yields.

The generator is a library's own documented way to guard a stream; whatever it yields is sent at once, and an exception
of it ends the answer, as in any web application.
"""

import json
import os
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[list[dict[str, Any]], bool], Iterator[str]]
"""From the messages, and whether to stream, to the pieces of the answer."""


def upstream() -> dict[str, Any]:
    """Return where the LLM is, as arguments of an OpenAI client."""
    return {"base_url": os.environ["UPSTREAM"], "api_key": "none", "max_retries": 0}


class Handler(BaseHTTPRequestHandler):
    """Answers with what `answer` yields."""

    answer: Answer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def do_GET(self) -> None:
        """Say that the gateway is up."""
        self._open("text/plain")

    def do_POST(self) -> None:
        """Answer one request."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        streams = bool(asked.get("stream"))
        pieces = type(self).answer(asked["messages"], streams)
        self._stream(pieces) if streams else self._whole(pieces)

    def _stream(self, pieces: Iterator[str]) -> None:
        self._open("text/event-stream")
        try:
            for piece in pieces:
                self._event({"choices": [{"index": 0, "delta": {"content": piece}}]})
        except Exception as error:  # noqa: BLE001 - a stop of the library, of whatever type
            self._event({"error": {"message": type(error).__name__}})
        self.wfile.write(b"data: [DONE]\n\n")

    def _whole(self, pieces: Iterator[str]) -> None:
        try:
            message = {"role": "assistant", "content": "".join(pieces)}
            body: dict[str, Any] = {"choices": [{"index": 0, "message": message}]}
        except Exception as error:  # noqa: BLE001 - a stop of the library, of whatever type
            body = {"error": {"message": type(error).__name__}}
        self._open("application/json")
        self.wfile.write(json.dumps(body).encode())

    def _event(self, data: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())

    def _open(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()


def serve(answer: Answer) -> None:
    """Serve on the port that the environment names, until the process ends."""
    Handler.answer = staticmethod(answer)
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()

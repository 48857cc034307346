"""An OpenAI-compatible server whose answers are a function of the request, and which writes down what it is asked.

Run as a process of its own: `python server.py LOG DELAY_S [FAIL_AFTER [HOLD_AFTER]]`; it prints its port. What comes
after HOLD_AFTER requests waits until there is a file LOG.go. Each line of the log is
`received HASH` or `answered HASH`, in the order in which that happened; equal requests have one hash.
"""

import hashlib
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WORDS = (
    "bread",
    "knife",
    "garden",
    "engine",
    "river",
    "poison",
    "letter",
    "window",
    "bomb",
    "music",
    "secret",
    "stone",
)


class Handler(BaseHTTPRequestHandler):
    """Answers completions of both kinds."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    log_fd = -1
    delay_s = 0.0
    fail_after = 0
    hold_after = 0
    go = Path()
    n_received = 0
    lock = threading.Lock()

    @staticmethod
    def texts(asked: dict[str, Any], name: str) -> list[str]:
        """Return the samples."""
        return [said(asked, f"{name}{i}") for i in range(asked.get("n") or 1)]

    def do_POST(self) -> None:
        """Answer one request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(body)
        name = hashlib.sha256(json.dumps([self.path, asked], sort_keys=True).encode()).hexdigest()[:24]
        note(f"received {name}")
        with self.lock:
            Handler.n_received += 1
            is_down = 0 < self.fail_after < Handler.n_received
            is_held = 0 < self.hold_after < Handler.n_received
        while is_held and not self.go.exists():
            time.sleep(0.01)
        time.sleep(self.delay_s)
        if is_down:
            self.send(401, {"error": {"message": "down"}})
            return
        self.send(200, answer(asked, name))
        note(f"answered {name}")

    def send(self, status: int, values: dict[str, Any]) -> None:
        """Send JSON."""
        data = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def note(line: str) -> None:
    """Append a line to the log, at once."""
    os.write(Handler.log_fd, f"{line}\n".encode())


def answer(asked: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what is answered: samples that hang on the request alone."""
    texts = Handler.texts(asked, name)
    is_chat = "messages" in asked
    parts = [{"message": {"role": "assistant", "content": text}} if is_chat else {"text": text} for text in texts]
    choices = [{"index": i, "finish_reason": "stop", **part} for i, part in enumerate(parts)]
    usage = {"prompt_tokens": len(json.dumps(asked)) // 4, "completion_tokens": sum(map(len, texts)) // 4}
    kind = "chat.completion" if is_chat else "text_completion"
    return {"id": name, "object": kind, "created": 0, "model": asked["model"], "choices": choices, "usage": usage}


def said(asked: dict[str, Any], seed: str) -> str:
    """Return one sample: JSON by the schema, a guard's verdict, or some words."""
    drawn = Draw(seed)
    schema = (asked.get("response_format") or {}).get("json_schema", {}).get("schema")
    if schema:
        return json.dumps(by_schema(schema, schema, drawn))
    if "<BEGIN CONVERSATION>" in (asked.get("prompt") or ""):
        safety = drawn.one(("Safe", "Unsafe", "Controversial"))
        return f"Safety: {safety}\nCategories: {'None' if safety == 'Safe' else 'Violent'}\nRefusal: No"
    return " ".join(drawn.one(WORDS) for _ in range(6 + drawn.number(10))) + "."


def by_schema(schema: dict[str, Any], root: dict[str, Any], drawn: "Draw") -> Any:
    """Return a value that a JSON schema allows."""
    if "$ref" in schema:
        return by_schema(root["$defs"][schema["$ref"].rpartition("/")[2]], root, drawn)
    if "anyOf" in schema:
        return by_schema(schema["anyOf"][0], root, drawn)
    if "enum" in schema or "const" in schema:
        return drawn.one(schema.get("enum") or [schema["const"]])
    if schema.get("type") == "object":
        return {name: by_schema(one, root, drawn) for name, one in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        n = min(max(schema.get("minItems", 3), 1), schema.get("maxItems", 3))
        return [by_schema(schema["items"], root, drawn) for _ in range(n)]
    if schema.get("type") == "boolean":
        return drawn.one((True, False))
    if schema.get("type") in ("integer", "number"):
        return schema.get("minimum", 0)
    return " ".join(drawn.one(WORDS) for _ in range(5 + drawn.number(6)))


class Draw:
    """Numbers drawn from a seed, the same everywhere."""

    def __init__(self, seed: str) -> None:
        self._seed, self._n = seed, 0

    def number(self, n: int) -> int:
        """Return a number below n."""
        self._n += 1
        return int.from_bytes(hashlib.sha256(f"{self._seed} {self._n}".encode()).digest()[:8]) % n

    def one(self, of: Any) -> Any:
        """Return one of several values."""
        return of[self.number(len(of))]


class Server(ThreadingHTTPServer):
    """Serves as many connections as there are."""

    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve until killed."""
    Handler.log_fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    Handler.delay_s = float(sys.argv[2])
    Handler.fail_after, Handler.hold_after = (int(sys.argv[i]) if len(sys.argv) > i else 0 for i in (3, 4))
    Handler.go = Path(f"{sys.argv[1]}.go")
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

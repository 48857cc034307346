"""A real OpenAI-compatible server that streams scripted answers, counts what it sends and notices who hangs up."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.wire import frames

Delta = dict[str, Any]


@dataclass
class Script:
    """What the LLM answers to a prompt that says `run <name>`.

    Attributes:
        deltas: of chat completions, each with the `index` of its choice (0 if absent).
        finish_reason: of every choice.
        pause_s: before each delta.
        is_endless: repeat the last delta until the reader hangs up.
        dies: break the connection instead of finishing.
        hangs: send nothing more, until the reader hangs up, instead of finishing.
        raw: sent instead of the answer, piece by piece.
        kind: content type of `raw`.
        status: of the answer; one that is not 200 goes with `raw`.
        headers: of the answer.
        n_sent: deltas sent.
        requests: bodies that asked for it.
        heads: headers that came with them.
        ended: set when the answer was sent to its end, or the reader has hung up.
        was_cut: whether the reader hung up before the end.
    """

    deltas: list[Delta] = field(default_factory=list)
    finish_reason: str = "stop"
    pause_s: float = 0.0
    is_endless: bool = False
    dies: bool = False
    hangs: bool = False
    raw: tuple[bytes, ...] = ()
    kind: str = "text/event-stream"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    n_sent: int = 0
    requests: list[Any] = field(default_factory=list)
    heads: list[Any] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    was_cut: bool = False

    @classmethod
    def of(cls, text: str, *, size: int = 3, **options: Any) -> "Script":
        """Cut a text into deltas of `size` characters."""
        return cls([{"content": text[i : i + size]} for i in range(0, len(text), size)], **options)

    async def play(self) -> AsyncGenerator[Delta]:
        """Yield the deltas at their pace."""
        self.ended.clear()
        is_whole = False
        try:
            for delta in self._in_turn():
                await asyncio.sleep(self.pause_s)
                self.n_sent += 1
                yield delta
            if self.hangs:
                await asyncio.Event().wait()
            is_whole = True
        finally:
            self.was_cut = not is_whole
            self.ended.set()

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield `raw`."""
        for piece in self.raw:
            await asyncio.sleep(self.pause_s)
            yield piece
        async with aclosing(self.play()) as rest:
            async for _ in rest:
                pass

    def _in_turn(self) -> Iterator[Delta]:
        yield from self.deltas
        while self.is_endless:
            yield self.deltas[-1]


class Dropped(Exception):
    """The server breaks the connection, as one that crashes does."""


class Upstream:
    """Runs the server in a thread."""

    def __init__(self) -> None:
        self.scripts: dict[str, list[Script]] = {}
        app = Starlette(
            routes=[
                Route(f"/v1/{path}", self._answer, methods=["POST"])
                for path in ("chat/completions", "completions", "responses", "messages")
            ]
        )
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)
        self._socket.close()

    def plays(self, name: str, *scripts: Script) -> Script:
        """Answer `run <name>` with these scripts, one after the other, the last one again and again."""
        self.scripts[name] = list(scripts)
        return scripts[0]

    def latest(self, prompt: str) -> Script:
        """Return the script that a prompt played last."""
        return self.scripts[prompt.removeprefix("run ")][0]

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        found = re.search(r"run (\w+)", json.dumps(body))
        if found is None:
            return JSONResponse({"error": {"message": "no such script"}}, 400)
        waiting = self.scripts[found[1]]
        script = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        script.requests.append(body)
        script.heads.append(dict(request.headers))
        if script.raw:
            return StreamingResponse(script.pieces(), script.status, script.headers, script.kind)
        form = frames.FORMS[request.url.path.removeprefix("/v1/")]
        if body.get("stream"):
            return StreamingResponse(self._stream(form(body), script), media_type=script.kind, headers=script.headers)
        made = form(body)
        async for delta in script.play():
            made.add(delta)
        return JSONResponse(made.whole(script.finish_reason), headers=script.headers)

    async def _stream(self, made: frames.Form, script: Script) -> AsyncGenerator[str]:
        for frame in made.opening():
            yield frame
        async for delta in script.play():
            for frame in made.add(delta):
                yield frame
        if script.dies:
            raise Dropped
        for frame in made.closing(script.finish_reason):
            yield frame

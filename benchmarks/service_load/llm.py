"""An OpenAI-compatible LLM that streams recorded answers at a set speed, and tells when it sent each piece.

    python benchmarks/service_load/llm.py PORT TOKENS_PER_SECOND

A request that says `run ID KIND` anywhere asks for the answer of a kind: `clean`, or `risky`, whose middle a guard must
stop. Times are those of the machine's monotonic clock, which all processes share.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import uvicorn
from answers import ANSWERS, pieces
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route


@dataclass
class Sent:
    """What was sent of one answer.

    Attributes:
        times: of each piece, seconds.
        was_cut: whether the reader hung up.
    """

    times: list[float] = field(default_factory=list)
    was_cut: bool = True


class LLM:
    """The server."""

    def __init__(self, rate: float) -> None:
        self._pause_s = 1 / rate
        self.sent: dict[str, Sent] = {}

    async def complete(self, request: Request) -> StreamingResponse:
        """Stream an answer."""
        asked = await request.json()
        name, kind = re.findall(r"run (\w+) (clean|risky)", json.dumps(asked))[-1]
        self.sent[name] = Sent()
        return StreamingResponse(self._stream(self.sent[name], kind), media_type="text/event-stream")

    async def told(self, request: Request) -> JSONResponse:
        """Tell what was sent of an answer; forget it."""
        sent = self.sent.pop(request.path_params["name"])
        return JSONResponse({"times": sent.times, "was_cut": sent.was_cut})

    async def _stream(self, sent: Sent, kind: str) -> AsyncIterator[str]:
        started = time.monotonic()
        for i, piece in enumerate(pieces(ANSWERS[kind])):
            await asyncio.sleep(max(0.0, started + i * self._pause_s - time.monotonic()))
            sent.times.append(time.monotonic())
            yield _frame({"content": piece})
        sent.was_cut = False
        yield _frame({}, "stop")
        yield "data: [DONE]\n\n"


def _frame(delta: dict[str, str], finish_reason: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "llm", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n"


def main(port: str, rate: str) -> None:
    """Serve."""
    llm = LLM(float(rate))
    routes = [
        Route("/v1/chat/completions", llm.complete, methods=["POST"]),
        Route("/sent/{name}", llm.told),
    ]
    uvicorn.run(Starlette(routes=routes), port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])

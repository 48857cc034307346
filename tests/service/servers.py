"""A real server in a thread, on a free port."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from guardrail import Guard
from guardrail.records import MemorySink
from guardrail.service import Settings, create_app
from guardrail.service.run import Server
from guardrail.testing import Breakage, FailingEngine, MarkerEngine, default_tokenizer, raising

MARKERS = {"☠": ("Unsafe", "Violent"), "☢": ("Controversial", "Unethical Acts")}
"""Characters from which on every token is risky."""


@dataclass
class Serving:
    """A server that runs.

    Attributes:
        url: where.
        app: what it serves.
        sink: the decisions it made.
        server: uvicorn's.
    """

    url: str
    app: FastAPI
    sink: MemorySink
    server: Server

    @property
    def base_url(self) -> str:
        """For OpenAI's clients."""
        return f"{self.url}/v1"


def marker_guard(policy: Any = "balanced", sink: MemorySink | None = None) -> Guard:
    """A guard that stops at the markers."""
    tokenizer = default_tokenizer()
    return Guard(MarkerEngine(tokenizer, MARKERS), tokenizer, policy=policy, sinks=[sink or MemorySink()])


def failing_guard(error: Exception, policy: Any = "balanced") -> Guard:
    """A guard whose engine raises."""
    return breaking_guard(raising(error), policy)


def breaking_guard(breakage: Breakage, policy: Any = "balanced") -> Guard:
    """A guard whose engine does something else at every step."""
    tokenizer = default_tokenizer()
    engine = FailingEngine(MarkerEngine(tokenizer, MARKERS), at_step=0, breakage=breakage)
    return Guard(engine, tokenizer, policy=policy)


@contextmanager
def serving(settings: Settings | None = None, *, guard: Guard | None = None) -> Iterator[Serving]:
    """Serve on a free port until the block ends."""
    settings = settings or Settings()
    settings = settings.model_copy(update={"server": settings.server.model_copy(update={"port": 0})})
    sink = MemorySink()
    guard = guard or marker_guard()
    guard = guard.with_policy(guard.policy, sinks=[*guard.sinks, sink])
    app = create_app(settings, guard=guard)
    started = threading.Event()
    server = Server(app, settings, lambda _: started.set())
    thread = threading.Thread(target=asyncio.run, args=(server.serve(),))
    thread.start()
    try:
        assert started.wait(30)
        yield Serving(f"http://127.0.0.1:{server.port}", app, sink, server)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()

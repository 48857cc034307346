# ruff: noqa: ARG002 - scripted models have the signatures of the core
"""Scripted chat models, a guard that stops at a known character, and a callback handler that remembers everything."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field

from guardrail import Guard, GuardTokenizer, Policy
from guardrail.records import MemorySink
from guardrail.testing import MarkerEngine
from tests.pacing import dawdle

SECRET = "forbidden"
"""Stands only behind the marker: whoever sees it has seen withheld text."""

ANSWER = f"Here is what you asked me for, step by step.☠☠ First the {SECRET} part, then more of the {SECRET} part."
SAFE = "Bread needs flour, water, salt and a whole day of patience."


class Generating(BaseChatModel):
    """Writes its script as a whole; remembers what it was asked.

    Attributes:
        chunks: the answer, as it is cut.
        later: what it answers when it is asked again, the last of them from then on.
        error: raised after the last chunk.
        asked: conversations it was asked to continue.
        n_chunks: chunks given out.
        n_closed: iterators that have ended, for whatever reason.
    """

    chunks: list[AIMessageChunk] = Field(repr=False)  # traces show a model's repr
    later: list[list[AIMessageChunk]] = Field(default_factory=list, repr=False)
    error: BaseException | None = None
    asked: list[list[BaseMessage]] = Field(default_factory=list)
    n_chunks: int = 0
    n_closed: int = 0

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": "scripted-1"}

    @property
    def script(self) -> list[AIMessageChunk]:
        """The answer to what it was asked last."""
        return [self.chunks, *self.later][min(len(self.asked) - 1, len(self.later))]

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, Any]:
        return self.bind(tools=tools, **kwargs)

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        self.asked.append(messages)
        if self.error:
            raise self.error
        first, *rest = self.script
        whole = sum(rest, first)
        names = ("content", "additional_kwargs", "response_metadata", "usage_metadata", "tool_calls", "id")
        message = AIMessage(**{name: getattr(whole, name) for name in names})
        return ChatResult(generations=[ChatGeneration(message=message)], llm_output={"model_name": "scripted-1"})


class SyncStreaming(Generating):
    """Streams its script, synchronously only."""

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        self.asked.append(messages)
        try:
            for chunk in self.script:
                self.n_chunks += 1
                yield ChatGenerationChunk(message=chunk.model_copy())
            if self.error:
                raise self.error
        finally:
            self.n_closed += 1


class Streaming(SyncStreaming):
    """Streams its script both ways.

    Attributes:
        is_slow: whether a task reads each chunk before the next one comes, as a thread does.
    """

    is_slow: bool = True

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        self.asked.append(messages)
        try:
            for chunk in self.script:
                self.n_chunks += 1
                yield ChatGenerationChunk(message=chunk.model_copy())
                if self.is_slow:
                    await dawdle()
            if self.error:
                raise self.error
        finally:
            self.n_closed += 1


class Stalling(Streaming):
    """Streams five chunks, then keeps its reader waiting."""

    stalled: asyncio.Event = Field(default_factory=asyncio.Event)

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        try:
            for chunk in self.chunks[:5]:
                yield ChatGenerationChunk(message=chunk)
            self.stalled.set()
            await asyncio.sleep(60)
        finally:
            self.n_closed += 1


class Blocking(SyncStreaming):
    """Streams synchronously; gives its third chunk when it is told to."""

    waiting: threading.Event = Field(default_factory=threading.Event)
    go_on: threading.Event = Field(default_factory=threading.Event)
    closed: threading.Event = Field(default_factory=threading.Event)

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        try:
            for number, chunk in enumerate(self.chunks):
                if number == 2:
                    self.waiting.set()
                    self.go_on.wait(30)
                self.n_chunks += 1
                yield ChatGenerationChunk(message=chunk)
        finally:
            self.closed.set()


class Ear(BaseCallbackHandler):
    """Remembers all that callbacks are told, as text."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.names: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *args, **kwargs: self._hear(name, args, kwargs)
        return super().__getattribute__(name)

    def _hear(self, name: str, args: Any, kwargs: Any) -> None:
        self.names.append(name)
        self.heard.append(f"{name} {args!r} {kwargs!r}")


def cut(text: str, size: int) -> list[AIMessageChunk]:
    """Return a text as chunks of `size` characters."""
    return [AIMessageChunk(content=text[i : i + size]) for i in range(0, len(text), size)]


Script = Callable[..., Any]


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers of LangChain's own suite; an unknown marker is an error here."""
    config.addinivalue_line("markers", "benchmark: timing in langchain-tests")


@pytest.fixture
def script() -> Script:
    """Make a chat model that streams a text in pieces, or given chunks."""

    def make(
        text: str = ANSWER,
        size: int = 3,
        kind: type[Generating] = Streaming,
        chunks: list[AIMessageChunk] | None = None,
        **fields: Any,
    ) -> Generating:
        return kind(chunks=chunks or cut(text, size), **fields)

    return make


@pytest.fixture
def samples() -> SimpleNamespace:
    """Texts, and the chat models by what they can do."""
    kinds = {"both": Streaming, "sync": SyncStreaming, "whole": Generating, "stalling": Stalling, "blocking": Blocking}
    return SimpleNamespace(secret=SECRET, answer=ANSWER, safe=SAFE, cut=cut, kinds=kinds)


@pytest.fixture
def sink() -> MemorySink:
    """Where the guard of a test records."""
    return MemorySink()


@pytest.fixture
def make_guard(sink: MemorySink, tokenizer: GuardTokenizer) -> Callable[..., Guard]:
    """Make a guard that stops at the marker; keywords change the policy."""
    engine = MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")})

    def make(**changes: Any) -> Guard:
        return Guard(engine, tokenizer, policy=Policy(**changes), sinks=[sink])

    return make


@pytest.fixture
def guard(make_guard: Callable[..., Guard]) -> Guard:
    """A guard with the default policy."""
    return make_guard()


@pytest.fixture
def ear() -> Ear:
    """A callback handler that remembers."""
    return Ear()

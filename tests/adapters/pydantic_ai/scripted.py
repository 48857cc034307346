# ruff: noqa: ARG002 - parameters of OpenTelemetry's interfaces
"""Scripted models of pydantic-ai, and a spy over every outlet of an agent."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.trace import NonRecordingSpan, NoOpTracer, SpanContext, TraceFlags, TracerProvider, use_span
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel
from pydantic_core import to_json

from tests.pacing import dawdle

SECRET = "forbidden"
"""Stands only behind the marker: whoever sees it has seen withheld text."""

ANSWER = f"Here is what you asked me for, step by step.☠☠ First the {SECRET} part, then more of the {SECRET} part."
SHOWN = ANSWER[: ANSWER.index("☠")]
SAFE = "Bread needs flour, water, salt and a whole day of patience."

Turn = Sequence[str | ThinkingPart | ToolCallPart]
"""What the LLM writes in one turn: texts, thoughts and calls."""


@dataclass(repr=False)  # results show their model
class Script:
    """An LLM that writes its turns one after the other, streamed in pieces of `size` or whole.

    Attributes:
        turns: what it writes, turn by turn; the last one is repeated.
        size: characters of a piece.
        is_slow: whether each piece is read before the next one comes.
        asked: histories it was asked to continue.
        n_pieces: pieces given out.
        n_closed: streams that have ended, for whatever reason.
    """

    turns: Sequence[Turn]
    size: int = 3
    is_slow: bool = True
    asked: list[list[ModelMessage]] = field(default_factory=list)
    n_pieces: int = 0
    n_closed: int = 0

    @property
    def model(self) -> FunctionModel:
        """The script as a model of the framework."""
        return FunctionModel(self._whole, stream_function=self._pieces, model_name="scripted")

    def _next(self, messages: list[ModelMessage]) -> Turn:
        self.asked.append(messages)
        return self.turns[min(len(self.asked), len(self.turns)) - 1]

    def _whole(self, messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
        return ModelResponse([TextPart(part) if isinstance(part, str) else part for part in self._next(messages)])

    async def _pieces(self, messages: list[ModelMessage], _info: AgentInfo) -> AsyncIterator[Any]:
        try:
            for number, part in enumerate(self._next(messages)):
                for piece in self._cut(number, part):
                    self.n_pieces += 1
                    yield piece
                    if self.is_slow:
                        await dawdle()
        finally:
            self.n_closed += 1

    def _cut(self, number: int, part: str | ThinkingPart | ToolCallPart) -> Iterator[Any]:
        if isinstance(part, str):
            yield from cut(part, self.size)
        elif isinstance(part, ThinkingPart):
            yield from ({number: DeltaThinkingPart(content=piece)} for piece in cut(part.content, self.size))
            yield {number: DeltaThinkingPart(signature=part.signature)}
        else:
            yield {number: DeltaToolCall(part.tool_name, "", tool_call_id=part.tool_call_id)}
            arguments = part.args_as_json_str()
            yield from ({number: DeltaToolCall(json_args=piece)} for piece in cut(arguments, self.size))


@dataclass
class Spy:
    """Everything that came out of an agent, as text."""

    heard: list[str] = field(default_factory=list)
    output: Any = None
    messages: list[ModelMessage] = field(default_factory=list)

    def hear(self, what: object) -> None:
        """Remember something, in two ways of writing it."""
        self.heard += [repr(what), to_json(what, fallback=repr).decode()]

    def assert_tight(self) -> None:
        """Nothing withheld was heard, in plain text or escaped."""
        everything = "\n".join(self.heard)
        assert self.heard
        for withheld in (SECRET, "☠", json.dumps("☠")[1:-1]):
            assert withheld not in everything


class _Span(NonRecordingSpan):
    """A span that remembers what is put on it."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__(SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)))
        self._heard = heard

    def is_recording(self) -> bool:
        return True

    def set_attribute(self, key: str, value: Any) -> None:
        self._heard.append(f"{key}={value!r}")

    def set_attributes(self, attributes: Any) -> None:
        self._heard.append(repr(attributes))

    def add_event(self, name: str, attributes: Any = None, timestamp: Any = None) -> None:
        self._heard.append(f"{name} {attributes!r}")

    def record_exception(self, exception: BaseException, *args: Any, **kwargs: Any) -> None:
        self._heard.append(repr(exception))


class SpyTracer(NoOpTracer):
    """A tracer of OpenTelemetry that remembers all that is traced, as text."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @contextmanager
    def start_as_current_span(self, name: str, context: Any = None, *args: Any, **kwargs: Any) -> Iterator[Any]:  # type: ignore[override]  # the decorator's own type
        self.heard.append(f"{name} {kwargs!r}")
        with use_span(_Span(self.heard)) as span:
            yield span

    def start_span(self, name: str, *args: Any, **kwargs: Any) -> Any:
        self.heard.append(f"{name} {kwargs!r}")
        return _Span(self.heard)


class SpyTracerProvider(TracerProvider):
    """Gives everybody one `SpyTracer`."""

    def __init__(self) -> None:
        self.tracer = SpyTracer()

    def get_tracer(self, *args: Any, **kwargs: Any) -> SpyTracer:
        return self.tracer


def cut(text: str, size: int) -> list[str]:
    """Return a text in pieces of `size` characters."""
    return [text[i : i + size] for i in range(0, len(text), size)]


async def run(agent: Agent[Any, Any], prompt: str | None = "How?", *, streamed: bool = True, **options: Any) -> Spy:
    """Run an agent and hear all of it: events, texts, responses so far, history, output."""
    spy = Spy()
    if not streamed:
        result = await agent.run(prompt, **options)
    else:
        async with agent.run_stream_events(prompt, **options) as events:
            async for event in events:
                spy.hear(event)
                if event.event_kind == "agent_run_result":
                    result = event.result
    spy.output, spy.messages = result.output, result.all_messages()
    spy.hear(result.output)
    spy.hear(spy.messages)
    return spy

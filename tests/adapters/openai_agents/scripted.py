# ruff: noqa: A002, ARG002 - names and parameters of the SDK's interfaces
"""A scripted model of the SDK that streams cut events, and a spy over every outlet of a run."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from agents import (
    Agent,
    Model,
    ModelResponse,
    ModelTracing,
    RunConfig,
    RunHooks,
    Runner,
    RunResult,
    RunResultStreaming,
    Usage,
)
from agents.tracing import Span, Trace, TracingProcessor
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseCreatedEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
    ResponseFunctionToolCall,
    ResponseOutputItem,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
    ResponseReasoningSummaryTextDeltaEvent,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
)
from openai.types.responses.response_reasoning_item import Summary

from tests.pacing import dawdle

SECRET = "forbidden"
"""Stands only behind the marker: whoever sees it has seen withheld text."""

ANSWER = f"Here is what you asked me for, step by step.☠☠ First the {SECRET} part, then more of the {SECRET} part."
SHOWN = ANSWER[: ANSWER.index("☠")]
SAFE = "Bread needs flour, water, salt and a whole day of patience."


def message(text: str) -> ResponseOutputMessage:
    """Return a message as a model makes it."""
    content = ResponseOutputText(type="output_text", text=text, annotations=[])
    return ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[content])


def thought(text: str) -> ResponseReasoningItem:
    """Return reasoning as a model makes it."""
    return ResponseReasoningItem(id="r", type="reasoning", summary=[Summary(type="summary_text", text=text)])


def call(name: str, call_id: str = "call-1", **arguments: Any) -> ResponseFunctionToolCall:
    """Return a call as a model makes it, its arguments in ASCII as most providers send them."""
    return ResponseFunctionToolCall(
        type="function_call", id=f"f-{call_id}", call_id=call_id, name=name, arguments=json.dumps(arguments)
    )


class Script(Model):
    """An LLM that writes its turns one after the other, streamed in pieces of `size` characters or whole.

    Attributes:
        asked: inputs it was asked to continue.
        tracings: how it was told to trace.
        n_events: events given out.
        n_closed: streams that have ended, for whatever reason.
    """

    def __init__(self, *turns: list[Any], size: int = 3, is_terse: bool = False, is_slow: bool = True) -> None:
        self._turns = turns
        self._size = size
        self._is_terse = is_terse
        self._is_slow = is_slow
        self.asked: list[Any] = []
        self.tracings: list[ModelTracing] = []
        self.n_events = 0
        self.n_closed = 0

    async def get_response(
        self,
        system_instructions: str | None,
        input: Any,
        model_settings: Any,
        tools: Any,
        output_schema: Any,
        handoffs: Any,
        tracing: ModelTracing,
        **_options: Any,
    ) -> ModelResponse:
        return ModelResponse(self._next(input, tracing), Usage(requests=1), "resp-1")

    async def stream_response(
        self,
        system_instructions: str | None,
        input: Any,
        model_settings: Any,
        tools: Any,
        output_schema: Any,
        handoffs: Any,
        tracing: ModelTracing,
        **_options: Any,
    ) -> AsyncIterator[Any]:
        try:
            for number, event in enumerate(self._events(self._next(input, tracing))):
                self.n_events += 1
                event.sequence_number = number
                yield event
                if self._is_slow:
                    await dawdle()
        finally:
            self.n_closed += 1

    def _next(self, items: Any, tracing: ModelTracing) -> list[Any]:
        self.asked.append(items)
        self.tracings.append(tracing)
        turn = self._turns[min(len(self.asked), len(self._turns)) - 1]
        return [message(item) if isinstance(item, str) else item for item in turn]

    def _events(self, output: list[Any]) -> Iterator[Any]:
        response = Response(
            id="resp-1", object="response", created_at=0, model="scripted", output=[], tools=[], tool_choice="auto",
            parallel_tool_calls=True,
        )  # fmt: skip
        yield ResponseCreatedEvent(type="response.created", response=response, sequence_number=0)
        for index, item in enumerate([] if self._is_terse else output):
            common: dict[str, Any] = {"output_index": index, "sequence_number": 0}
            yield ResponseOutputItemAddedEvent(type="response.output_item.added", item=_begun(item), **common)
            yield from self._item_events(item, {"item_id": item.id, **common})
            yield ResponseOutputItemDoneEvent(type="response.output_item.done", item=item, **common)
        whole = response.model_copy(update={"output": output})
        yield ResponseCompletedEvent(type="response.completed", response=whole, sequence_number=0)

    def _item_events(self, item: Any, common: dict[str, Any]) -> Iterator[Any]:
        if item.type == "message":
            part, common = item.content[0], {**common, "content_index": 0}
            empty = part.model_copy(update={"text": ""})
            yield ResponseContentPartAddedEvent(type="response.content_part.added", part=empty, **common)
            for piece in cut(part.text, self._size):
                yield ResponseTextDeltaEvent(type="response.output_text.delta", delta=piece, logprobs=[], **common)
            yield ResponseTextDoneEvent(type="response.output_text.done", text=part.text, logprobs=[], **common)
            yield ResponseContentPartDoneEvent(type="response.content_part.done", part=part, **common)
        elif item.type == "reasoning":
            kind: Any = "response.reasoning_summary_text.delta"
            for piece in cut(item.summary[0].text, self._size):
                yield ResponseReasoningSummaryTextDeltaEvent(type=kind, delta=piece, summary_index=0, **common)
        elif item.type == "function_call":
            for piece in cut(item.arguments, self._size):
                yield ResponseFunctionCallArgumentsDeltaEvent(
                    type="response.function_call_arguments.delta", delta=piece, **common
                )
            done = {"type": "response.function_call_arguments.done", "name": item.name, "arguments": item.arguments}
            yield ResponseFunctionCallArgumentsDoneEvent.model_validate({**done, **common})


def _begun(item: ResponseOutputItem) -> Any:
    empty: dict[str, Any] = {
        "message": {"content": []},
        "reasoning": {"summary": []},
        "function_call": {"arguments": ""},
    }
    return item.model_copy(update=empty.get(item.type, {}))


def cut(text: str, size: int) -> list[str]:
    """Return a text in pieces of `size` characters."""
    return [text[i : i + size] for i in range(0, len(text), size)]


class Traces(TracingProcessor):
    """Remembers every trace and span as it is exported."""

    def __init__(self) -> None:
        self.exported: list[Any] = []

    def on_trace_start(self, trace: Trace) -> None:
        self.exported.append(trace.export())

    def on_trace_end(self, trace: Trace) -> None:
        self.exported.append(trace.export())

    def on_span_start(self, span: Span[Any]) -> None:
        self.exported.append(span.export())

    def on_span_end(self, span: Span[Any]) -> None:
        self.exported.append(span.export())

    def shutdown(self) -> None:
        """Nothing to end."""

    def force_flush(self) -> None:
        """Nothing to send."""


class Ear(RunHooks[Any]):
    """Hears all that hooks are told."""

    def __init__(self, heard: list[str]) -> None:
        self._heard = heard

    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        self._heard.append(repr(response))

    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        self._heard.append(repr(context.tool_arguments))

    async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
        self._heard.append(repr(result))


@dataclass
class Spy:
    """Everything that came out of a run, as text.

    Attributes:
        heard: what came out.
        deltas: pieces of text that were streamed.
        result: of the run.
    """

    heard: list[str] = field(default_factory=list)
    deltas: list[str] = field(default_factory=list)
    result: RunResult | RunResultStreaming | None = None

    @property
    def output(self) -> Any:
        """The run's final output."""
        return self.result.final_output if self.result else None

    async def hear(self, result: RunResultStreaming) -> None:
        """Read a streamed run to its end."""
        async for event in result.stream_events():
            data: Any = getattr(event, "data", None)
            self.heard.append(repr(data or getattr(event, "item", event.type)))
            if data and data.type == "response.output_text.delta":
                self.deltas.append(data.delta)

    def assert_tight(self, *more: Any) -> None:
        """Nothing withheld was heard, in plain text or escaped."""
        everything = "\n".join([*self.heard, *map(repr, more)])
        assert self.heard
        for withheld in (SECRET, "☠", json.dumps("☠")[1:-1]):
            assert withheld not in everything


async def run(agent: Agent[Any], items: Any = "How?", *, streamed: bool = True, config: RunConfig | None = None) -> Spy:
    """Run an agent and hear all of it: events, hooks, items, responses, output."""
    spy = Spy()
    hooks = Ear(spy.heard)
    if streamed:
        result: Any = Runner.run_streamed(agent, items, hooks=hooks, run_config=config)
        await spy.hear(result)
    else:
        result = await Runner.run(agent, items, hooks=hooks, run_config=config)
    spy.result = result
    spy.heard += [repr(part) for part in (result.final_output, result.new_items, result.raw_responses)]
    spy.heard.append(json.dumps(result.to_input_list(), default=repr))
    return spy

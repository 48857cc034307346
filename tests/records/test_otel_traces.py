"""Where a guard's span hangs: below the span that is current where the decision is made, whoever made that one."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from langchain_core.language_models import FakeListChatModel
from opentelemetry import propagate, trace

from guardrail import Guard, GuardTokenizer, ToolCall
from guardrail.adapters.langchain import GuardRunnable
from guardrail.records.otel import OtelSink
from guardrail.testing import MarkerEngine
from tests.records.otlp import Received, Telemetry, attributes, receiving, sending_to

RISKY = {"☠": ("Unsafe", "Violent")}
RISKY_TEXT = "some words ☠ and more words"


@pytest.fixture(scope="module")
def telemetry() -> Iterator[Telemetry]:
    """An application's telemetry, and who receives it."""
    with receiving("http") as (endpoint, received), sending_to(endpoint, "http", received) as sending:
        yield sending


@pytest.fixture(autouse=True)
def received(telemetry: Telemetry) -> Received:
    """What arrives during one test."""
    got = telemetry.flush()
    got.spans.clear()
    got.events.clear()
    return got


@pytest.fixture
def guard(telemetry: Telemetry, tokenizer: GuardTokenizer) -> Guard:
    """A guard that stops at the marker."""
    sink = OtelSink(tracer_provider=telemetry.tracer_provider, logger_provider=telemetry.logger_provider)
    return Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[sink])


@pytest.fixture
def tracer(telemetry: Telemetry) -> trace.Tracer:
    """The application's own."""
    return telemetry.tracer_provider.get_tracer("app")


CALLS: dict[str, Callable[[Guard], Any]] = {
    "prompt": lambda guard: guard.acheck_prompt("hi"),
    "response": lambda guard: guard.acheck_response("hi", "hello you"),
    "tool_call": lambda guard: guard.acheck_tool_call("hi", ToolCall("read", "{}")),
    "tool_result": lambda guard: guard.acheck_tool_result("hi", "flour", tool="read"),
    "document": lambda guard: guard.acheck_documents(["flour"]),
}


def parents(received: Received, *, by_conversation: bool = False) -> dict[str, str]:
    """Name of the parent of each of the guard's spans, by the name of that span or by its conversation."""
    named = {span.span_id: span.name for span in received.spans}
    ours = [span for span in received.spans if span.name.startswith("guardrail")]
    keys = [attributes(span)["session.id"] if by_conversation else span.name for span in ours]
    assert len(set(keys)) == len(keys)
    return {key: named.get(span.parent_span_id, "") for key, span in zip(keys, ours, strict=True)}


def test_without_a_current_span_it_begins_a_trace(guard: Guard, telemetry: Telemetry) -> None:
    """An application that traces nothing else gets traces of one span."""
    guard.check_prompt("hi")
    (span,) = telemetry.flush().spans
    assert span.parent_span_id == b""


@pytest.mark.parametrize("direction", CALLS)
async def test_a_check_stands_below_the_span_around_it(
    guard: Guard, telemetry: Telemetry, tracer: trace.Tracer, direction: str
) -> None:
    """In one trace with it, though the engine works in threads."""
    with tracer.start_as_current_span("request"):
        await CALLS[direction](guard)
    received = telemetry.flush()
    assert parents(received) == {f"guardrail {direction}": "request"}
    assert len({span.trace_id for span in received.spans}) == 1


async def test_tasks_keep_their_spans_apart(guard: Guard, telemetry: Telemetry, tracer: trace.Tracer) -> None:
    """Twenty tasks share the guard; each decision hangs below its own task's span."""

    async def ask(n: int) -> None:
        with tracer.start_as_current_span(f"request {n}"):
            await asyncio.sleep(0)
            await guard.acheck_prompt(f"hello {n}", conversation_id=str(n))

    await asyncio.gather(*(ask(n) for n in range(20)))
    assert parents(telemetry.flush(), by_conversation=True) == {str(n): f"request {n}" for n in range(20)}


def test_threads_keep_their_spans_apart(guard: Guard, telemetry: Telemetry, tracer: trace.Tracer) -> None:
    """Four threads share the guard; one that runs in a copy of its parent's context stands below the parent's span."""

    def ask(n: int) -> None:
        with tracer.start_as_current_span(f"request {n}"):
            guard.check_prompt(f"hello {n}", conversation_id=str(n))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    with tracer.start_as_current_span("outer"):
        context = contextvars.copy_context()
        inner = threading.Thread(target=context.run, args=(lambda: guard.check_prompt("hi", conversation_id="inner"),))
        for thread in (*threads, inner):
            thread.start()
        for thread in (*threads, inner):
            thread.join()
    expected = {str(n): f"request {n}" for n in range(4)} | {"inner": "outer"}
    assert parents(telemetry.flush(), by_conversation=True) == expected


def test_a_stop_stands_below_the_call_that_brought_it(guard: Guard, telemetry: Telemetry, tracer: trace.Tracer) -> None:
    """A stream may be fed under many spans: the one that is current at the stop is the parent."""
    with tracer.start_as_current_span("opening"):
        stream = guard.open_stream("hi")
    with tracer.start_as_current_span("harmless"):
        stream.feed("some words ")
    with tracer.start_as_current_span("risky"):
        stream.feed("☠ and more words")
        assert stream.is_stopped
    with tracer.start_as_current_span("ending"):
        stream.finish()
    assert parents(telemetry.flush()) == {"guardrail response": "risky"}


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_chain_joins_the_trace_it_runs_in(
    guard: Guard, telemetry: Telemetry, tracer: trace.Tracer, *, is_async: bool
) -> None:
    """Prompt and answer of a LangChain chain hang below the span around the call, streamed in either way."""
    runnable = GuardRunnable(guard)
    chain = runnable | FakeListChatModel(responses=[RISKY_TEXT]) | runnable
    with tracer.start_as_current_span("request"):
        if is_async:
            shown = "".join([chunk.text async for chunk in chain.astream("hi")])
        else:
            shown = "".join(chunk.text for chunk in chain.stream("hi"))
    assert shown == "some words "
    assert parents(telemetry.flush()) == {"guardrail prompt": "request", "guardrail response": "request"}


@pytest.fixture
async def traced_app(guard: Guard, tracer: trace.Tracer) -> AsyncIterator[httpx.AsyncClient]:
    """Asks a FastAPI application whose middleware takes the caller's trace and opens a span for each request."""
    app = FastAPI()

    @app.middleware("http")
    async def traced(request: Request, call_next: Callable[[Request], Any]) -> Response:
        with tracer.start_as_current_span(request.url.path, context=propagate.extract(request.headers)):
            response: Response = await call_next(request)
            return response

    @app.get("/async")
    async def ask_async() -> str:
        return (await guard.acheck_prompt("hi")).action

    @app.get("/sync")
    def ask_sync() -> str:
        return guard.check_prompt("hi").action

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
        yield client


@pytest.mark.parametrize("path", ["/async", "/sync"])
async def test_an_endpoint_joins_its_callers_trace(
    traced_app: httpx.AsyncClient, telemetry: Telemetry, tracer: trace.Tracer, path: str
) -> None:
    """The caller's `traceparent` comes through FastAPI to the guard, in a coroutine and in FastAPI's threads."""
    headers: dict[str, str] = {}
    with tracer.start_as_current_span("caller"):
        propagate.inject(headers)
        assert (await traced_app.get(path, headers=headers)).json() == "allow"
    received = telemetry.flush()
    assert parents(received) == {"guardrail prompt": path}
    assert len({span.trace_id for span in received.spans}) == 1

"""What people see in Arize Phoenix: guardrail spans in the traces of their applications."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("phoenix", reason="Phoenix has an environment of its own: make otel-test")

from fastapi import FastAPI  # behind the skip
from langchain_core.language_models import FakeListChatModel
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from guardrail import Guard
from guardrail.adapters.langchain import GuardRunnable
from guardrail.records import MemorySink, Sink
from guardrail.records.otel import OtelSink
from guardrail.testing import FailingEngine, MarkerEngine, default_tokenizer, raising
from tests.phoenix.conftest import START_S, Phoenix, free_port, is_up, waited_for

TOKENIZER = default_tokenizer()
ENGINE = MarkerEngine(TOKENIZER, {"☠": ("Unsafe", "Violent")})
SECRET = "xyzzy"


@contextmanager
def traced(phoenix: Phoenix, project: str, protocol: str = "http") -> Iterator[TracerProvider]:
    """An application's provider; at its end everything has been sent."""
    exporter: Any = HttpExporter(f"{phoenix.http}/v1/traces")
    if protocol == "grpc":
        exporter = GrpcExporter(phoenix.grpc, insecure=True)
    provider = TracerProvider(resource=Resource({"openinference.project.name": project}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    yield provider
    provider.shutdown()


def parents(spans: list[dict[str, Any]]) -> dict[str, str | None]:
    """Name of each span's parent, by its own name; the roots have None."""
    named = {span["context"]["span_id"]: span["name"] for span in spans}
    return {span["name"]: named.get(span["parent_id"]) for span in spans}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_decisions_stand_in_the_trace_as_guardrails(phoenix: Phoenix, protocol: str) -> None:
    """Over both transports: kind, parent, fields, and the failure as the only error; no word of the text."""
    kept = MemorySink()
    with traced(phoenix, protocol, protocol) as provider:
        sinks: list[Sink] = [OtelSink(tracer_provider=provider), kept]
        guard = Guard(ENGINE, TOKENIZER, sinks=sinks)
        failing = Guard(
            FailingEngine(ENGINE, at_step=0, breakage=raising(RuntimeError(SECRET))), TOKENIZER, sinks=sinks
        )
        with provider.get_tracer("app").start_as_current_span("request"):
            guard.check_prompt(f"hello {SECRET}", conversation_id="c1")
            guard.check_response("hi", f"some {SECRET} words ☠ and more")
            failing.check_prompt(SECRET)
    spans = phoenix.spans(protocol, 4)
    ours = {span["attributes"]["guardrail.id"]: span for span in spans if span["span_kind"] == "GUARDRAIL"}
    assert {*ours} == {decision.id for decision in kept.decisions}
    (root,) = [span for span in spans if span["name"] == "request"]
    assert {span["parent_id"] for span in ours.values()} == {root["context"]["span_id"]}
    prompt, answer, failed = (ours[decision.id] for decision in kept.decisions)
    assert [span["status_code"] for span in (prompt, answer, failed)] == ["UNSET", "UNSET", "ERROR"]
    assert prompt["attributes"]["session.id"] == "c1"
    assert (answer["attributes"]["guardrail.action"], answer["attributes"]["guardrail.stop_offset"]) == ("stop", 17)
    assert answer["attributes"]["guardrail.risk_probabilities.unsafe"] > 0.5
    assert SECRET not in str(spans)


def test_a_langchain_trace_shows_guards_beside_the_llm(phoenix: Phoenix) -> None:
    """With OpenInference's instrumentation: the guards and the LLM are children of the span around the chain."""
    with traced(phoenix, "langchain") as provider:
        runnable = GuardRunnable(Guard(ENGINE, TOKENIZER, sinks=[OtelSink(tracer_provider=provider)]))
        chain = runnable | FakeListChatModel(responses=["some words ☠ and more"]) | runnable
        LangChainInstrumentor().instrument(tracer_provider=provider)
        try:
            with provider.get_tracer("app").start_as_current_span("request"):
                assert "".join(chunk.text for chunk in chain.stream("hi")) == "some words "
        finally:
            LangChainInstrumentor().uninstrument()
    spans = phoenix.spans("langchain", 4)
    assert {span["name"]: span["span_kind"] for span in spans}["GuardedChatModel"] == "LLM"
    assert parents(spans) == {
        "request": None,
        "guardrail prompt": "request",
        "GuardedChatModel": "request",
        "guardrail response": "request",
    }


async def test_a_fastapi_trace_shows_guards_below_the_request(phoenix: Phoenix) -> None:
    """With OpenTelemetry's instrumentation, and in the trace of whoever asked the server."""
    with traced(phoenix, "fastapi") as provider:
        guard = Guard(ENGINE, TOKENIZER, sinks=[OtelSink(tracer_provider=provider)])
        app = FastAPI()

        @app.get("/ask")
        async def ask() -> str:
            return (await guard.acheck_prompt("hi")).action

        FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, exclude_spans=["receive", "send"])
        context = trace.SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=trace.TraceFlags(1))
        caller = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
            assert (await client.get("/ask", headers={"traceparent": caller})).json() == "allow"
    spans = phoenix.spans("fastapi", 2)
    assert parents(spans) == {"GET /ask": None, "guardrail prompt": "GET /ask"}
    assert {span["context"]["trace_id"] for span in spans} == {f"{context.trace_id:032x}"}


def test_the_service_joins_its_callers_trace(phoenix: Phoenix) -> None:
    """`opentelemetry-instrument guardrail serve` with `records.opentelemetry`: nothing else has to be set up."""
    with serving(phoenix, "service") as url:
        body = {"input": f"hello {SECRET}"}
        headers = {"traceparent": f"00-{0xABD:032x}-{0xDEF:016x}-01"}
        assert httpx.post(f"{url}/v1/moderations", json=body, headers=headers).is_success
    spans = phoenix.spans("service", 2)
    assert parents(spans)["guardrail prompt"] == "POST /v1/moderations"
    (guard,) = [span for span in spans if span["span_kind"] == "GUARDRAIL"]
    assert guard["context"]["trace_id"] == f"{0xABD:032x}"
    assert SECRET not in str(spans)


@contextmanager
def serving(phoenix: Phoenix, project: str) -> Iterator[str]:
    """A server as its command starts it, under OpenTelemetry's own; ended as a container is."""
    port, programs = free_port(), Path(sys.executable).parent
    settings = {
        "OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT": phoenix.http,
        "OTEL_RESOURCE_ATTRIBUTES": f"openinference.project.name={project}",
        "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "readyz", "GUARDRAIL_RECORDS__OPENTELEMETRY": "true",
    }  # fmt: skip
    traced_by, served = str(programs / "opentelemetry-instrument"), str(programs / "guardrail")
    server = subprocess.Popen([traced_by, served, "serve", "--port", str(port)], env=os.environ | settings)
    url = f"http://127.0.0.1:{port}"
    try:
        waited_for(lambda: is_up(f"{url}/readyz", server), START_S)
        yield url
    finally:
        server.terminate()
        server.wait(30)

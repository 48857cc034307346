"""The OpenTelemetry sink: what arrives at a receiver of OTLP, over both of its transports."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes

from guardrail import Action, Guard, GuardTokenizer, Policy, ToolCall
from guardrail.decision import Decision, Direction
from guardrail.records import MemorySink, Privacy, Record, Sink, TextForm
from guardrail.records import otel_names as names
from guardrail.records.otel import OtelSink
from guardrail.records.signals import FIELDS, LEFT_OUT
from guardrail.testing import FailingEngine, MarkerEngine, raising
from tests.records.otlp import PROTOCOLS, Received, Telemetry, attributes, receiving, sending_to

RISKY = {"☠": ("Unsafe", "Violent")}
SECRET = "xyzzy"
"""Stands in every judged text."""
ERROR = 2
"""Code of a span's status."""


@pytest.fixture(params=PROTOCOLS)
def telemetry(request: pytest.FixtureRequest) -> Iterator[Telemetry]:
    """An application's telemetry, and who receives it."""
    with receiving(request.param) as (endpoint, received), sending_to(endpoint, request.param, received) as sending:
        yield sending


def otel_sink(telemetry: Telemetry, **options: Any) -> OtelSink:
    return OtelSink(
        tracer_provider=telemetry.tracer_provider, logger_provider=telemetry.logger_provider,
        **{"experimental": False, **options},
    )  # fmt: skip


def judge(tokenizer: GuardTokenizer, *sinks: Sink) -> list[Decision]:
    """Let a guard decide once in each direction, stop once and fail once; return the decisions."""
    kept = MemorySink()
    engine = MarkerEngine(tokenizer, RISKY)
    guard = Guard(engine, tokenizer, sinks=[*sinks, kept])
    guard.check_prompt(f"hello {SECRET}", conversation_id="c1", tenant="t1")
    guard.check_response("hi", f"some {SECRET} words ☠ and more words {SECRET}")
    guard.check_tool_call("hi", ToolCall("read_file", f'{{"path": "{SECRET}"}}'))
    guard.check_tool_result("hi", f"{SECRET} bread", tool="read_file")
    guard.check_documents([f"{SECRET} flour"])
    failing = FailingEngine(engine, at_step=0, breakage=raising(RuntimeError(SECRET)))
    Guard(failing, tokenizer, sinks=[*sinks, kept]).check_prompt(f"{SECRET} x")
    assert guard.n_record_failures == 0
    return list(kept.decisions)


@pytest.fixture
def decisions(telemetry: Telemetry, tokenizer: GuardTokenizer) -> list[Decision]:
    """Decisions that were sent."""
    return judge(tokenizer, otel_sink(telemetry))


@pytest.fixture
def received(telemetry: Telemetry, decisions: list[Decision]) -> Received:
    """What arrived of them."""
    return telemetry.flush()


def by_id(sent: list[Any]) -> dict[str, Any]:
    return {attributes(one)["guardrail.id"]: one for one in sent}


def test_every_decision_arrives_as_a_span_and_an_event_in_it(decisions: list[Decision], received: Received) -> None:
    """None is missing or doubled, each event stands in its span, and both say who sent them."""
    spans, events = by_id(received.spans), by_id(received.events)
    assert [*spans] == [*events] == [d.id for d in decisions]
    assert [span.name for span in received.spans] == [f"guardrail {d.direction}" for d in decisions]
    assert {d.direction for d in decisions} == set(Direction)
    for one, span in spans.items():
        assert (events[one].trace_id, events[one].span_id) == (span.trace_id, span.span_id)
        assert events[one].event_name == "gen_ai.evaluation.result"
    (scope,) = received.scopes
    assert scope[0] == "guardrail"
    assert re.match(r"\d+\.\d+", scope[1])


def test_every_field_of_a_record_is_carried_or_left_out_for_a_reason() -> None:
    """A new field has to be put on one side or the other."""
    assert len(FIELDS) == len(set(FIELDS))
    assert not set(FIELDS) & set(LEFT_OUT)
    assert {*FIELDS, *LEFT_OUT} == set(Record.model_fields)
    assert all(LEFT_OUT.values())


def test_a_span_says_what_the_record_says(decisions: list[Decision], received: Received) -> None:
    """Every field that is not None arrives with its value; what it holds inside has names behind a dot."""
    for decision in decisions:
        found = attributes(by_id(received.spans)[decision.id])
        record = Record.of(decision).model_dump(mode="json")
        for name in FIELDS:
            inner = record[name] if isinstance(record[name], dict) else {"": record[name]}
            for key, value in inner.items():
                slug = re.sub(r"\W+", "_", key.lower())
                place = f"guardrail.{name}.{slug}" if key else f"guardrail.{name}"
                assert found.pop(place, None) == (pytest.approx(value) if isinstance(value, float) else value)
        assert [name for name in found if name.startswith("guardrail.")] == []


def test_a_span_lasts_as_long_as_the_guard_worked(decisions: list[Decision], received: Received) -> None:
    """It ends when the decision was made, and began its latency before."""
    for decision in decisions:
        span = by_id(received.spans)[decision.id]
        assert span.end_time_unix_nano == pytest.approx(decision.time * 1e9, abs=1e3)
        lasted = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        assert lasted == pytest.approx(decision.latency_ms, abs=1e-3)
        assert by_id(received.events)[decision.id].time_unix_nano == span.end_time_unix_nano


def test_only_a_failure_is_an_error(decisions: list[Decision], received: Received) -> None:
    """A stop is what a guard is for: its span has no status."""
    assert [d.stopped for d in decisions] == [False, True, False, False, False, True]
    spans, events = received.spans, received.events
    assert [span.status.code for span in spans] == [0, 0, 0, 0, 0, ERROR]
    assert [attributes(one).get("error.type") for one in spans] == [*[None] * 5, "EngineError"]
    assert [attributes(one).get("error.type") for one in events] == [*[None] * 5, "EngineError"]
    assert [event.severity_text for event in events] == ["INFO", "WARNING", *["INFO"] * 3, "ERROR"]


def test_a_failure_that_was_let_pass_is_an_error_too(telemetry: Telemetry, tokenizer: GuardTokenizer) -> None:
    """What the policy makes of it does not matter: something is broken."""
    engine = FailingEngine(MarkerEngine(tokenizer, RISKY), at_step=0, breakage=raising(RuntimeError(SECRET)))
    guard = Guard(engine, tokenizer, policy=Policy(on_failure=Action.ALLOW), sinks=[otel_sink(telemetry)])
    assert not guard.check_prompt("hello").stopped
    received = telemetry.flush()
    assert [span.status.code for span in received.spans] == [ERROR]
    assert [event.severity_text for event in received.events] == ["ERROR"]


def test_a_score_that_was_not_measured_is_not_sent(telemetry: Telemetry, decisions: list[Decision]) -> None:
    """Where the model named a label and no more, the vectors only stand in for it."""
    stopped = decisions[1]
    assert stopped.verdict is not None
    unscored = replace(stopped, id="unscored", verdict=replace(stopped.verdict, is_scored=False))
    otel_sink(telemetry, experimental=True).write(unscored, "")
    received = telemetry.flush()
    span, event = (attributes(by_id(sent)["unscored"]) for sent in (received.spans, received.events))
    assert event["gen_ai.evaluation.score.label"] == "unsafe"
    assert not {"gen_ai.evaluation.score.value", "gen_ai.security.risk.score"} & {*event, *span}


def test_the_event_is_an_evaluation(decisions: list[Decision], received: Received) -> None:
    """Name, label, score and explanation by the convention's names; a failure has neither label nor score."""
    stopped, failed = (attributes(received.events[n]) for n in (1, 5))
    verdict = decisions[1].verdict
    assert verdict is not None
    assert stopped["gen_ai.evaluation.name"] == "guardrail"
    assert stopped["gen_ai.evaluation.score.label"] == "unsafe"
    assert stopped["gen_ai.evaluation.score.value"] == pytest.approx(verdict.non_safe_probability)
    assert stopped["gen_ai.evaluation.explanation"] == "stop: verdict, Violent"
    assert failed["gen_ai.evaluation.explanation"] == "stop: failure"
    assert not {"gen_ai.evaluation.score.label", "gen_ai.evaluation.score.value"} & set(failed)


def test_viewers_see_a_guardrail_and_its_conversation(received: Received) -> None:
    """OpenInference's kind on every span, the session and the tool where there is one."""
    found = [attributes(span) for span in received.spans]
    assert {one["openinference.span.kind"] for one in found} == {"GUARDRAIL"}
    assert [one.get("session.id") for one in found] == ["c1", *[None] * 5]
    assert [one.get("gen_ai.conversation.id") for one in found] == ["c1", *[None] * 5]
    assert [one.get("gen_ai.tool.name") for one in found] == [None, None, "read_file", "read_file", None, None]


def test_nothing_of_the_text_is_sent(received: Received) -> None:
    """Not in a name, an attribute, an event, or the status of what failed on it."""
    assert received.bodies
    assert not any(SECRET.encode() in body for body in received.bodies)


@pytest.mark.parametrize(("form", "shown"), [(TextForm.FULL, True), (TextForm.REDACTED, False)])
def test_text_is_sent_if_asked_for(
    telemetry: Telemetry, tokenizer: GuardTokenizer, form: TextForm, *, shown: bool
) -> None:
    """Where viewers look for a span's input, whole or with what is risky hidden; no vectors even then."""
    sink = otel_sink(telemetry, privacy=Privacy(text=form, hash_key=b"k" * 16, positions=True, tokens=True))
    judge(tokenizer, sink)
    found = attributes(telemetry.flush().spans[1])
    assert found["input.value"].startswith(f"some {SECRET} words ")
    assert ("☠" in found["input.value"]) is shown
    assert found["guardrail.text_form"] == form
    assert re.fullmatch("[0-9a-f]{64}", found["guardrail.text_hmac"])
    assert not {"guardrail.tokens", "guardrail.positions"} & set(found)


@pytest.mark.parametrize(
    ("value", "is_opted_in"), [(None, False), ("http", False), ("http, gen_ai_latest_experimental", True)]
)
def test_unreleased_names_are_sent_to_who_opts_in(
    telemetry: Telemetry,
    tokenizer: GuardTokenizer,
    monkeypatch: pytest.MonkeyPatch,
    value: str | None,
    is_opted_in: bool,
) -> None:
    """By OpenTelemetry's own variable; else no name of the open proposal leaves."""
    monkeypatch.delenv("OTEL_SEMCONV_STABILITY_OPT_IN", raising=False)
    if value is not None:
        monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", value)
    judge(tokenizer, otel_sink(telemetry, experimental=None))
    found = attributes(telemetry.flush().spans[1])
    proposed = {name for name in found if name.startswith(("gen_ai.security.", "gen_ai.operation."))}
    assert bool(proposed) is is_opted_in
    if is_opted_in:
        assert found["gen_ai.operation.name"] == "run_guardrail"
        assert found["gen_ai.security.target.type"] == "llm_output"
        assert found["gen_ai.security.action.type"] == "block"


def test_released_names_are_those_of_the_convention() -> None:
    """As OpenTelemetry's own package spells them."""
    assert names.CONVERSATION_ID == gen_ai_attributes.GEN_AI_CONVERSATION_ID
    assert names.TOOL_NAME == gen_ai_attributes.GEN_AI_TOOL_NAME
    assert names.EVALUATION_NAME == gen_ai_attributes.GEN_AI_EVALUATION_NAME
    assert names.SCORE_VALUE == gen_ai_attributes.GEN_AI_EVALUATION_SCORE_VALUE
    assert names.SCORE_LABEL == gen_ai_attributes.GEN_AI_EVALUATION_SCORE_LABEL
    assert names.EXPLANATION == gen_ai_attributes.GEN_AI_EVALUATION_EXPLANATION
    assert names.OPERATION_NAME == gen_ai_attributes.GEN_AI_OPERATION_NAME
    assert names.ERROR_TYPE == error_attributes.ERROR_TYPE
    assert {*names.TARGETS} == set(Direction)


def test_ids_that_no_utf8_can_hold_arrive_too(telemetry: Telemetry, tokenizer: GuardTokenizer) -> None:
    """A lone surrogate from outside becomes U+FFFD, else the exporter would throw its whole batch away."""
    Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[otel_sink(telemetry)]).check_prompt(
        "hi", conversation_id="a\ud800b"
    )
    assert attributes(telemetry.flush().spans[0])["session.id"] == "a\ufffdb"


class _Broken(SpanProcessor):
    def on_start(self, *args: object, **kwargs: object) -> None:  # noqa: ARG002  # the SDK's
        raise RuntimeError(SECRET)


def test_a_broken_processor_changes_no_decision(tokenizer: GuardTokenizer, caplog: pytest.LogCaptureFixture) -> None:
    """What the SDK raises is counted and logged by name, and later sinks still get the decision."""
    provider, kept = TracerProvider(), MemorySink()
    provider.add_span_processor(_Broken())
    sink = OtelSink(tracer_provider=provider, logger_provider=LoggerProvider())
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[sink, kept])
    decision = guard.check_response("hi", "some words ☠ and more")
    assert decision.stopped
    assert guard.n_record_failures == 1
    assert list(kept.decisions) == [decision]
    assert "OtelSink" in caplog.text
    assert SECRET not in caplog.text
    provider.shutdown()


class _Hanging(SpanExporter):
    def __init__(self) -> None:
        self.released = threading.Event()
        self.names: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        assert self.released.wait(60)
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS


@pytest.mark.parametrize(("room", "n_sent"), [(64, {6}), (2, {2, 3})])  # one more if it was taken out in time
def test_a_receiver_that_hangs_delays_no_decision(tokenizer: GuardTokenizer, room: int, n_sent: set[int]) -> None:
    """All decisions come while the first batch is still under way; what the SDK's queue has no room for is dropped."""
    provider, exporter = TracerProvider(), _Hanging()
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=room, max_export_batch_size=1))
    decisions = judge(tokenizer, OtelSink(tracer_provider=provider, logger_provider=LoggerProvider()))
    assert len(decisions) == 6
    assert exporter.names == []
    exporter.released.set()
    provider.shutdown()
    assert len(exporter.names) in n_sent


def test_the_sink_says_which_extra_is_missing() -> None:
    """Without opentelemetry-api the import fails with the command that installs it."""
    code = "import sys; sys.modules['opentelemetry'] = None\nimport guardrail.records.otel"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "guardrail-stream[otel]"' in done.stderr

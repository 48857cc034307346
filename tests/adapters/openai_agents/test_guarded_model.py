"""`GuardedModel`: nothing withheld leaves it, streamed or whole, and what is clean leaves unchanged."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from agents import (
    Agent,
    ModelBehaviorError,
    ModelSettings,
    ModelTracing,
    RunConfig,
    Runner,
    function_tool,
)
from agents.testing import ModelStep, ScriptedModel
from openai.types.responses import ResponseIncompleteEvent

from guardrail import ContentStopped, Guard, GuardTokenizer, Policy
from guardrail.adapters.openai_agents import GuardedModel
from guardrail.records import MemorySink
from guardrail.testing import FailingEngine, MarkerEngine, raising
from tests.adapters.openai_agents.scripted import ANSWER, SAFE, SHOWN, Script, Spy, Traces, call, message, run, thought

MakeGuard = Callable[..., Guard]
BOTH = pytest.mark.parametrize("streamed", [False, True])


def agent_with(script: Script, guard: Guard, **options: Any) -> Agent[Any]:
    return Agent("baker", model=GuardedModel(script, guard), **options)


@BOTH
async def test_the_spy_hears_what_an_unguarded_model_says(streamed: bool) -> None:
    """Without a guard the withheld text does come out, so its absence below means something."""
    spy = await run(Agent("baker", model=Script([ANSWER])), streamed=streamed)
    with pytest.raises(AssertionError):
        spy.assert_tight()


@pytest.mark.parametrize("size", range(1, 41))
async def test_a_streamed_answer_ends_before_the_marker_in_every_outlet(
    guard: Guard, traces: Traces, size: int
) -> None:
    """However the answer is cut: raw events, items, hooks, responses and traces hold the released text only."""
    spy = await run(agent_with(Script([ANSWER], size=size), guard))
    spy.assert_tight(traces.exported)
    assert spy.output == "".join(spy.deltas) == SHOWN
    assert len(spy.deltas) > 1


async def test_a_whole_answer_ends_before_the_marker_in_every_outlet(guard: Guard, traces: Traces) -> None:
    """Without streaming the same text comes out."""
    spy = await run(agent_with(Script([ANSWER]), guard), streamed=False)
    spy.assert_tight(traces.exported)
    assert spy.output == SHOWN


def test_the_synchronous_way_holds_back_too(guard: Guard) -> None:
    """`run_sync` gives the released text."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        assert Runner.run_sync(agent_with(Script([ANSWER]), guard), "How?").final_output == SHOWN
    finally:
        loop.close()
        asyncio.set_event_loop(None)


@BOTH
async def test_a_stop_ends_the_llm_and_is_recorded(
    guard: Guard, sink: MemorySink, traces: Traces, streamed: bool
) -> None:
    """The stream is closed a few events behind the marker; the record is in the sink and in the trace."""
    script = Script([ANSWER * 5], size=1)
    agent = agent_with(script, guard, model_settings=ModelSettings(max_tokens=1000))
    assert (await run(agent, streamed=streamed)).output == SHOWN
    prompt, answer = sink.decisions
    assert (prompt.action, answer.action) == ("allow", "stop")
    assert prompt.conversation_id == answer.conversation_id
    spans = [span["span_data"] for span in traces.exported if span.get("object") == "trace.span"]
    assert [span["data"]["id"] for span in spans if span.get("name") == "guardrail"][-1] == answer.id
    assert script.tracings == [ModelTracing.ENABLED_WITHOUT_DATA]
    if streamed:
        assert script.n_closed == 1
        assert script.n_events < len(SHOWN) + 15
        assert answer.saved_tokens


@pytest.mark.parametrize("size", [1, 3, 40])
@BOTH
async def test_reasoning_passes_the_gate(guard: Guard, traces: Traces, size: int, streamed: bool) -> None:
    """A stop in the reasoning lets nothing of the answer out."""
    spy = await run(agent_with(Script([thought(ANSWER), SAFE], size=size), guard), streamed=streamed)
    spy.assert_tight(traces.exported)
    assert spy.output == ""
    assert not any("flour" in heard for heard in spy.heard)


@pytest.mark.parametrize("size", [1, 5, 40])
@BOTH
async def test_a_clean_answer_is_unchanged(guard: Guard, size: int, streamed: bool) -> None:
    """Items are those of the model, all events come, and the last one carries the record."""
    spy = await run(agent_with(Script([thought("Let me think."), SAFE], size=size), guard), streamed=streamed)
    assert spy.result
    assert spy.result.raw_responses[0].output == [thought("Let me think."), message(SAFE)]
    assert spy.result.raw_responses[0].response_id == "resp-1"
    if streamed:
        assert "".join(spy.deltas) == SAFE
        types = [heard.split("(")[0] for heard in spy.heard if heard.startswith("Response")]
        assert types[0] == "ResponseCreatedEvent"
        assert {"ResponseTextDoneEvent", "ResponseContentPartDoneEvent", "ResponseOutputItemDoneEvent"} < set(types)


@BOTH
async def test_reasoning_behind_an_answer_is_read_too(guard: Guard, traces: Traces, streamed: bool) -> None:
    """It counts as answer: the guard's format has one think block, in front."""
    spy = await run(agent_with(Script([SAFE, thought("Well done."), "More?"]), guard), streamed=streamed)
    assert spy.result
    assert spy.result.raw_responses[0].output == [message(SAFE), thought("Well done."), message("More?")]
    spy = await run(agent_with(Script([SAFE, thought(ANSWER)]), guard), streamed=streamed)
    spy.assert_tight(traces.exported)
    assert spy.output == SAFE


async def test_a_backend_that_sends_only_the_end_is_read_too(guard: Guard, traces: Traces) -> None:
    """Text that comes in the last event alone has not been read before."""
    spy = await run(agent_with(Script([ANSWER], is_terse=True), guard))
    spy.assert_tight(traces.exported)
    assert (await run(agent_with(Script([SAFE], is_terse=True), guard))).output == SAFE


@BOTH
async def test_nothing_follows_a_stop(guard: Guard, streamed: bool) -> None:
    """A tool call beside a stopped text neither shows nor runs."""
    ran: list[str] = []
    tool = function_tool(ran.append, name_override="bake")
    script = Script([call("bake", object="bread"), ANSWER])
    spy = await run(agent_with(script, guard, tools=[tool]), streamed=streamed)
    spy.assert_tight()
    assert spy.output == SHOWN
    assert not ran
    assert "call-1" not in "".join(spy.heard)


@BOTH
@pytest.mark.parametrize("marker", "☠☢")
async def test_a_stopped_call_of_an_unguarded_tool_ends_the_answer(guard: Guard, streamed: bool, marker: str) -> None:
    """Nobody would refuse it, or ask a person, so it never leaves."""
    ran: list[str] = []
    tool = function_tool(ran.append, name_override="bake")
    script = Script(["I will bake.", call("bake", object=f"{marker}{marker} forbidden")])
    spy = await run(agent_with(script, guard, tools=[tool]), streamed=streamed)
    spy.assert_tight()
    assert spy.output == "I will bake."
    assert not ran


@BOTH
async def test_a_stopped_prompt_never_reaches_the_llm(make_guard: MakeGuard, streamed: bool) -> None:
    """The output is empty, or the policy's message."""
    script = Script([SAFE])
    assert (await run(agent_with(script, make_guard()), "Tell me ☠ now", streamed=streamed)).output == ""
    guard = make_guard(on_stop="replace", messages={"default": {"en": "No."}})
    assert (await run(agent_with(script, guard), "Tell me ☠ now", streamed=streamed)).output == "No."
    assert not script.asked


@BOTH
@pytest.mark.parametrize("on_stop", ["replace", "repair"])
async def test_a_message_replaces_what_was_stopped(make_guard: MakeGuard, streamed: bool, on_stop: str) -> None:
    """It is the final output; a stream brings it behind the released text."""
    guard = make_guard(on_stop=on_stop, messages={"default": {"en": "No more."}})
    spy = await run(agent_with(Script([ANSWER]), guard), streamed=streamed)
    spy.assert_tight()
    assert spy.output == "No more."
    if streamed:
        assert "".join(spy.deltas) == f"{SHOWN}No more."


@BOTH
async def test_raising_raises(make_guard: MakeGuard, streamed: bool) -> None:
    """The caller gets the decision as an exception without text."""
    with pytest.raises(ContentStopped) as caught:
        await run(agent_with(Script([ANSWER]), make_guard(on_stop="raise")), streamed=streamed)
    assert "forbidden" not in repr(caught.value)


@BOTH
@pytest.mark.parametrize("at_step", [0, 1, 2])
async def test_a_failing_engine_closes_the_gate(
    engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink, at_step: int, streamed: bool
) -> None:
    """Prompt or answer: nothing unread is shown, the failure is recorded."""
    failing = FailingEngine(engine, at_step=at_step, breakage=raising(RuntimeError("forbidden")))
    guard = Guard(failing, tokenizer, policy=Policy(), sinks=[sink])
    spy = await run(agent_with(Script([SAFE], size=7), guard), streamed=streamed)
    spy.assert_tight()
    assert SAFE.startswith(spy.output)
    assert spy.output != SAFE
    assert sink.decisions[-1].stopped
    assert sink.decisions[-1].failure


async def test_only_what_is_new_is_read_as_a_prompt(guard: Guard, sink: MemorySink) -> None:
    """In a run with tools the user's turn is read once, results in between by the rules of their tool."""
    script = Script([call("bake", what="bread")], [SAFE])

    @function_tool
    def bake(what: str) -> str:
        """Bake."""
        return f"{what} is ready"

    await run(agent_with(script, guard, tools=[bake]))
    assert [d.direction for d in sink.decisions] == ["prompt", "response", "tool_call", "tool_result", "response"]
    assert len({d.conversation_id for d in sink.decisions}) == 1


async def test_an_answer_that_its_provider_breaks_off_shows_no_copy_of_itself(guard: Guard) -> None:
    """The SDK raises for such a response; what was released came before, and nothing else."""
    events = list(Script()._events([message(ANSWER)]))
    broken = ResponseIncompleteEvent(
        type="response.incomplete", response=events[-1].response, sequence_number=len(events)
    )

    async def breaking(_call: Any) -> AsyncIterator[Any]:
        for event in [*events[:8], broken]:
            yield event

    model = GuardedModel(ScriptedModel([ModelStep.stream(breaking)]), guard)
    result = Runner.run_streamed(Agent("baker", model=model), "How?")
    spy = Spy()
    with pytest.raises(ModelBehaviorError) as caught:
        await spy.hear(result)
    spy.assert_tight(caught.value)
    assert spy.deltas[0] == "Her"


async def test_an_llm_that_dies_says_so(guard: Guard, sink: MemorySink) -> None:
    """Its error comes through, and the answer is recorded as abandoned."""

    async def dying(_call: Any) -> AsyncIterator[Any]:
        for event in list(Script()._events([message(SAFE)]))[:6]:
            yield event
        raise ConnectionError("upstream died")

    model = GuardedModel(ScriptedModel([ModelStep.stream(dying)]), guard)
    with pytest.raises(ConnectionError, match="upstream died"):
        await run(Agent("baker", model=model))
    assert sink.decisions[-1].reason == "abandoned"


async def test_a_reader_that_leaves_ends_the_llm(guard: Guard, sink: MemorySink) -> None:
    """Cancelling a run closes the stream; the record says that the answer, or the call it was in, was broken off."""
    script = Script([SAFE * 20], size=1)
    result = Runner.run_streamed(agent_with(script, guard), "How?")
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            result.cancel()
    assert script.n_closed == 1
    assert script.n_events < len(SAFE) * 20
    assert sink.decisions[-1].reason in ("abandoned", "failure")


async def test_parallel_runs_share_nothing(guard: Guard) -> None:
    """Stopped and clean answers at the same time: each run gets its own."""

    async def once(i: int) -> Spy:
        return await run(agent_with(Script([ANSWER if i % 2 else f"{SAFE} {i}"], size=1 + i % 5), guard))

    for i, spy in enumerate(await asyncio.gather(*map(once, range(20)))):
        spy.assert_tight()
        assert spy.output == (SHOWN if i % 2 else f"{SAFE} {i}")


async def test_a_run_without_tracing_works(guard: Guard, traces: Traces) -> None:
    """Nothing is traced then, not even the record."""
    spy = await run(agent_with(Script([ANSWER]), guard), config=RunConfig(tracing_disabled=True))
    assert spy.output == SHOWN
    assert not traces.exported


async def test_records_stand_in_the_last_event(guard: Guard) -> None:
    """A reader of the stream finds the decision there."""
    result = Runner.run_streamed(agent_with(Script([ANSWER]), guard), "How?")
    last: Any = [event.data async for event in result.stream_events() if event.type == "raw_response_event"][-1]
    assert last.response.status == "incomplete"
    assert last.response.incomplete_details.reason == "content_filter"
    assert json.loads(last.response.metadata["guardrail"])["category"] == "Violent"

# long: one scripted model for all its tests
"""`GuardedModel`: nothing withheld leaves it, streamed or whole, and what is clean leaves unchanged."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.direct import model_request, model_request_stream, model_request_stream_sync, model_request_sync
from pydantic_ai.exceptions import ContentFilterError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.batch import BatchRequest
from pydantic_ai.models.function import FunctionModel, FunctionStreamedResponse
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.test import TestModel

from guardrail import ConfigurationError, ContentStopped, Guard, GuardTokenizer, Policy, ToolRule, ToolRules, Trust
from guardrail.adapters.pydantic_ai import GuardedModel
from guardrail.records import MemorySink
from guardrail.testing import FailingEngine, MarkerEngine, raising
from tests.adapters.pydantic_ai.scripted import ANSWER, SAFE, SHOWN, Script, Spy, SpyTracerProvider, run

MakeGuard = Callable[..., Guard]
PROMPT = [ModelRequest([UserPromptPart("How?")])]


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_spy_hears_what_an_unguarded_model_says(streamed: bool) -> None:
    """Without a guard the withheld text does come out, so its absence below means something."""
    provider = SpyTracerProvider()
    instrumentation = Instrumentation(InstrumentationSettings(tracer_provider=provider))
    spy = await run(Agent(Script([[ANSWER]]).model, capabilities=[instrumentation]), streamed=streamed)
    for heard in (spy.heard, provider.tracer.heard):
        with pytest.raises(AssertionError):
            Spy(heard).assert_tight()


@pytest.mark.parametrize("streamed", [False, True])
async def test_traces_hold_released_text_only(guard: Guard, streamed: bool) -> None:
    """The framework's instrumentation stands outside the guard, and sees what it lets out."""
    provider = SpyTracerProvider()
    instrumentation = Instrumentation(InstrumentationSettings(tracer_provider=provider))
    agent = Agent(GuardedModel(Script([[ANSWER]]).model, guard), capabilities=[instrumentation])
    await run(agent, streamed=streamed)
    Spy(provider.tracer.heard).assert_tight()
    assert SHOWN in "".join(provider.tracer.heard)


@pytest.mark.parametrize("size", range(1, 41))
async def test_a_streamed_answer_ends_before_the_marker_in_every_outlet(guard: Guard, size: int) -> None:
    """However the answer is cut: events, texts, responses so far and the history hold the released text only."""
    script = Script([[ANSWER]], size)
    agent = Agent(GuardedModel(script.model, guard))
    spy = await run(agent)
    async with agent.run_stream("How?") as result:
        texts = [text async for text in result.stream_text(delta=True, debounce_by=None)]
        spy.hear([texts, result.response, result.all_messages(), repr(result)])
    spy.assert_tight()
    assert spy.output == "".join(texts) == SHOWN
    assert len(texts) > 1
    last = spy.messages[-1]
    assert isinstance(last, ModelResponse)
    assert last.finish_reason == "content_filter"
    assert last.metadata
    assert last.metadata["guardrail"]["category"] == "Violent"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_stop_is_recorded(guard: Guard, sink: MemorySink, streamed: bool) -> None:
    """The record names the conversation, and what was shown."""
    spy = await run(Agent(GuardedModel(Script([[ANSWER]]).model, guard)), streamed=streamed, conversation_id="c-1")
    assert spy.output == SHOWN
    prompt, answer = sink.decisions
    assert (prompt.action, answer.action) == ("allow", "stop")
    assert answer.conversation_id == "c-1"
    assert answer.released_chars == len(SHOWN)


async def test_a_stop_ends_the_llm(guard: Guard, sink: MemorySink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stream is closed a few pieces behind the marker, before anybody reads on; the record says what that saved."""
    closed: list[int] = []
    script = Script([[ANSWER * 5]], 1)

    async def close(_stream: Any) -> None:
        closed.append(script.n_closed)

    monkeypatch.setattr(FunctionStreamedResponse, "close_stream", close)
    await run(Agent(GuardedModel(script.model, guard), model_settings={"max_tokens": 1000}))
    assert closed == [0]
    assert script.n_closed == 1
    assert script.n_pieces < len(SHOWN) + 10
    n_fed = sink.decisions[-1].n_deltas
    assert sink.decisions[-1].saved_tokens == 1000 - n_fed
    assert script.n_pieces - n_fed in (0, 1)  # one more may have been asked for while the guard read


@pytest.fixture
def loop() -> Iterator[None]:
    """A loop that the framework's synchronous ways find; one that they make themselves is never closed."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
    asyncio.set_event_loop(None)


@pytest.mark.usefixtures("loop")
def test_the_synchronous_ways_hold_back_too(guard: Guard) -> None:
    """`run_sync`, `run_stream_sync` and direct requests give the released text."""
    spy = Spy()
    model = GuardedModel(Script([[ANSWER]]).model, guard)
    agent = Agent(model)
    whole = agent.run_sync("How?")
    stream = agent.run_stream_sync("How?")
    texts = list(stream.stream_text(delta=True, debounce_by=None))
    response = model_request_sync(model, PROMPT)
    with model_request_stream_sync(model, PROMPT) as events:
        spy.hear([list(events), events.response])
    spy.hear([whole.output, whole.all_messages(), texts, response])
    spy.assert_tight()
    assert whole.output == "".join(texts) == SHOWN


@pytest.mark.parametrize("size", [1, 4, 40])
async def test_reasoning_passes_the_gate(guard: Guard, size: int) -> None:
    """A stop in the reasoning lets nothing of the answer out, nor the signature of what was cut."""
    script = Script([[ThinkingPart(ANSWER, signature="forbidden-signature"), SAFE]], size)
    model = GuardedModel(script.model, guard)
    spy = Spy()
    async with model_request_stream(model, PROMPT) as stream:
        async for event in stream:
            spy.hear([event, stream.get()])
    response = stream.get()
    spy.assert_tight()
    assert [(type(part), part.content) for part in response.parts] == [(ThinkingPart, SHOWN)]  # type: ignore[union-attr]  # both have content
    with pytest.raises(ContentFilterError):
        await Agent(model).run("How?")


@pytest.mark.parametrize("size", [1, 5, 40])
async def test_a_clean_response_is_unchanged(guard: Guard, size: int) -> None:
    """Text, reasoning with its signature, calls with their ids, usage and reasons are those of the model."""
    script = Script(
        [[ThinkingPart("Let me think.", signature="s"), SAFE, ToolCallPart("bake", {"n": 1}, "call-1")]], size
    )
    model = GuardedModel(script.model, guard)
    async with model_request_stream(script.model, PROMPT) as plain, model_request_stream(model, PROMPT) as gated:
        events = [event async for event in gated]
        async for _ in plain:
            pass
    assert gated.get().parts == plain.get().parts
    assert gated.usage == plain.usage
    assert [event.event_kind for event in events].count("part_end") == 3
    assert (await model_request(model, PROMPT)).parts == (await model_request(script.model, PROMPT)).parts


async def test_reasoning_behind_an_answer_is_read_too(guard: Guard) -> None:
    """It counts as answer: the guard's format has one think block, in front."""
    script = Script([[SAFE, ThinkingPart(ANSWER, signature="forbidden")]])
    for streamed in (False, True):
        spy = await run(Agent(GuardedModel(script.model, guard)), streamed=streamed)
        spy.assert_tight()
        assert spy.output == SAFE


async def test_nothing_follows_a_stop(guard: Guard) -> None:
    """A tool call behind a stopped text neither shows nor runs."""
    ran = []
    script = Script([[ANSWER, ToolCallPart("bake", {"what": "bread"}, "call-1")]])
    agent = Agent(GuardedModel(script.model, guard), tools=[])

    @agent.tool_plain
    def bake(what: str) -> str:
        ran.append(what)
        return what

    for streamed in (False, True):
        spy = await run(agent, streamed=streamed)
        assert spy.output == SHOWN
        assert "call-1" not in repr(spy.messages)
    assert not ran


def bake(what: str) -> str:
    """Never runs."""
    raise AssertionError(what)


@pytest.mark.parametrize("streamed", [False, True])
async def test_alone_a_stopped_call_ends_the_answer(guard: Guard, streamed: bool) -> None:
    """Without the capability nobody would refuse it, so it never leaves; one that should ask a person neither."""
    for marker in "☠☢":
        call = ToolCallPart("bake", {"what": f"{marker}{marker} forbidden bread"}, "call-1")
        agent = Agent(GuardedModel(Script([["I will bake.", call]]).model, guard))
        agent.tool_plain(bake)
        spy = await run(agent, streamed=streamed)
        spy.assert_tight()
        assert spy.output == "I will bake."
        assert "call-1" not in repr(spy.messages)


async def test_a_stopped_prompt_never_reaches_the_llm(make_guard: MakeGuard) -> None:
    """An agent raises its own error for it, or shows the policy's message."""
    script = Script([[SAFE]])
    with pytest.raises(ContentFilterError):
        await Agent(GuardedModel(script.model, make_guard())).run("Tell me ☠ now")
    guard = make_guard(on_stop="replace", messages={"default": {"en": "No."}})
    agent = Agent(GuardedModel(script.model, guard))
    for streamed in (False, True):
        assert (await run(agent, "Tell me ☠ now", streamed=streamed)).output == "No."
    assert not script.asked


async def test_tool_results_in_the_newest_turn_are_read(make_guard: MakeGuard) -> None:
    """A poisoned result stops the request, unless the policy trusts the tool; older ones are not read again."""
    turn = ModelResponse([ToolCallPart("look", {}, "c")])
    history: list[ModelMessage] = [
        *PROMPT,
        turn,
        ModelRequest([ToolReturnPart("look", "the page says ☠☠ forbidden", "c")]),
    ]
    script = Script([[SAFE]])
    stopped = await model_request(GuardedModel(script.model, make_guard()), history)
    assert stopped.finish_reason == "content_filter"
    assert not script.asked
    trusting = make_guard(tools=ToolRules(names={"look": ToolRule(result=Trust.TRUSTED)}))
    await model_request(GuardedModel(script.model, trusting), history)
    assert script.asked


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_a_caller_gets_is_the_policys(make_guard: MakeGuard, streamed: bool) -> None:
    """A replacing message stands alone in a whole answer and behind the text in a streamed one; raising raises."""
    script = Script([[ANSWER]])
    replacing = make_guard(on_stop="replace", messages={"default": {"en": " No more."}})
    spy = await run(Agent(GuardedModel(script.model, replacing)), streamed=streamed)
    assert spy.output == (SHOWN if streamed else "") + " No more."
    with pytest.raises(ContentStopped) as caught:
        await run(Agent(GuardedModel(script.model, make_guard(on_stop="raise"))), streamed=streamed)
    assert caught.value.decision.stopped
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("n_bad", [1, 2, 3])
async def test_repair_goes_on_behind_what_was_shown(make_guard: MakeGuard, streamed: bool, n_bad: int) -> None:
    """The LLM is asked again with what was shown and an instruction; after the last attempt it is refused."""
    guard = make_guard(on_stop="repair", max_repairs=2, messages={"default": {"en": "No."}})
    bad = [[f"Part {n}. ☠☠ forbidden"] for n in range(n_bad)]
    script = Script([*bad, ["The safe end."]])
    spy = await run(Agent(GuardedModel(script.model, guard)), streamed=streamed)
    spy.assert_tight()
    shown = "".join(f"Part {n}. " for n in range(n_bad))
    if n_bad <= 2:
        assert spy.output == f"{shown}The safe end."
        last = script.asked[-1]
        assert isinstance(last[-2], ModelResponse)
        assert last[-2].parts == [TextPart(shown)]
    else:
        assert spy.output == (f"{shown}No." if streamed else "No.")
    assert len(script.asked) == min(n_bad, 2) + 1


@pytest.mark.parametrize("at_step", [0, 1, 2, 3])
async def test_a_failing_engine_closes_the_gate(
    engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink, at_step: int
) -> None:
    """Prompt or answer: nothing unread is shown, the failure is recorded."""
    failing = FailingEngine(engine, at_step=at_step, breakage=raising(RuntimeError("forbidden")))
    model = GuardedModel(Script([[SAFE]], 7).model, Guard(failing, tokenizer, policy=Policy(), sinks=[sink]))
    try:
        shown = (await run(Agent(model))).output
    except ContentFilterError:
        shown = ""
    assert SAFE.startswith(shown)
    assert shown != SAFE
    assert sink.decisions[-1].stopped
    assert sink.decisions[-1].failure


async def test_an_open_policy_lets_an_answer_pass_a_failing_engine(
    engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink
) -> None:
    """`on_failure = allow` shows all, and says how much was not read."""
    failing = FailingEngine(engine, at_step=0, breakage=raising(RuntimeError()))
    guard = Guard(failing, tokenizer, policy=Policy(on_failure="allow"), sinks=[sink])  # type: ignore[arg-type]  # by name
    assert (await run(Agent(GuardedModel(Script([[SAFE]]).model, guard)))).output == SAFE
    assert sink.decisions[-1].unjudged_chars == len(SAFE)


async def test_parallel_runs_share_nothing(guard: Guard) -> None:
    """Stopped and clean answers at the same time: each run gets its own."""
    clean, bad = GuardedModel(Script([[SAFE]], 2).model, guard), GuardedModel(Script([[ANSWER]], 3).model, guard)
    spies = await asyncio.gather(*(run(Agent((clean, bad)[i % 2])) for i in range(20)))
    for i, spy in enumerate(spies):
        spy.assert_tight()
        assert spy.output == (SAFE, SHOWN)[i % 2]


async def test_a_reader_that_leaves_ends_the_llm_and_is_recorded(guard: Guard, sink: MemorySink) -> None:
    """Leaving in the middle closes the stream; the answer is recorded as abandoned."""
    script = Script([[SAFE]], 2)
    async with model_request_stream(GuardedModel(script.model, guard), PROMPT) as stream:
        async for _ in stream:
            break
    assert script.n_closed == 1
    assert sink.decisions[-1].reason == "abandoned"


async def test_an_llm_that_dies_says_so(guard: Guard) -> None:
    """Its error comes through, after the released text, without withheld text."""

    async def dying(_messages: Any, _info: Any) -> Any:
        yield SAFE[:10]
        raise RuntimeError("upstream died")

    with pytest.raises(RuntimeError, match="upstream died"):
        await run(Agent(GuardedModel(FunctionModel(stream_function=dying), guard)))


async def test_batches_are_refused(guard: Guard) -> None:
    """Their answers would not come back through the gate."""
    model = GuardedModel(TestModel(), guard)
    request: Any = BatchRequest.__new__(BatchRequest)
    with pytest.raises(ConfigurationError, match="unread"):
        await model.batch_encode(request)

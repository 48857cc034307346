"""What GuardedChatModel gives out, and what it does to the LLM inside."""

import json
import operator
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler

from guardrail import ContentStopped, OnStop
from guardrail.adapters.langchain import GuardedChatModel
from guardrail.policy import ReleaseMode

SIZES = (1, 2, 3, 7, 16, 40)
KINDS = ("both", "sync", "whole")


async def gather(model: Any, way: str, question: Any = "How?", config: Any = None) -> list[Any]:
    """Ask in one of the ways; return what was given out, in pieces."""
    if way == "stream":
        return list(model.stream(question, config))
    if way == "astream":
        return [chunk async for chunk in model.astream(question, config)]
    if way == "invoke":
        return [model.invoke(question, config)]
    if way == "ainvoke":
        return [await model.ainvoke(question, config)]
    return [event async for event in model.astream_events(question, config, version="v2")]


def text_of(pieces: Sequence[BaseMessage]) -> str:
    """Return the text of all pieces."""
    return "".join(piece.text for piece in pieces)


def joined(pieces: Iterable[Any]) -> Any:
    """Return the message that the pieces make up."""
    return reduce(operator.add, pieces)


@pytest.mark.parametrize("way", ["stream", "astream", "invoke", "ainvoke", "astream_events"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_sees_withheld_text(
    guard: Any, script: Any, samples: Any, ear: Any, kind: str, size: int, way: str
) -> None:
    """Caller, events, callbacks and tracer see no character from the stopped run on."""
    tracer = RunCollectorCallbackHandler()
    inner_ear = type(ear)()
    inner = script(size=size, kind=samples.kinds[kind], callbacks=[inner_ear])
    pieces = await gather(GuardedChatModel(inner, guard), way, config={"callbacks": [ear, tracer]})
    seen = [*map(repr, pieces), *ear.heard, *inner_ear.heard, *(run.model_dump_json() for run in tracer.traced_runs)]
    assert ear.heard
    assert inner_ear.heard
    assert tracer.traced_runs
    assert not [one for one in seen if samples.secret in one or "☠" in one or "\\u2620" in one]


@pytest.mark.parametrize("way", ["stream", "astream", "invoke", "ainvoke"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_stopped_answer_is_a_prefix_with_its_decision(
    guard: Any, script: Any, samples: Any, sink: Any, kind: str, size: int, way: str
) -> None:
    """What is given out is all text before the stop, and ends with content_filter and the recorded decision."""
    pieces = await gather(GuardedChatModel(script(size=size, kind=samples.kinds[kind]), guard), way)
    last = pieces[-1]
    prompt, decision = sink.decisions
    assert text_of(pieces) == samples.answer[: decision.released_chars] == samples.answer.split("☠")[0]
    assert last.response_metadata["finish_reason"] == "content_filter"
    assert last.response_metadata["guardrail"]["id"] == decision.id
    assert decision.stopped
    assert prompt.conversation_id == decision.conversation_id
    assert json.dumps(last.response_metadata)
    if "stream" in way:
        assert (last.content, last.chunk_position) == ("", "last")


@pytest.mark.parametrize("way", ["stream", "astream", "invoke", "ainvoke"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_safe_answer_passes_whole(guard: Any, script: Any, samples: Any, kind: str, way: str) -> None:
    """Every character arrives, with the decision at the end."""
    pieces = await gather(GuardedChatModel(script(samples.safe, kind=samples.kinds[kind]), guard), way)
    assert text_of(pieces) == samples.safe
    assert pieces[-1].response_metadata["guardrail"]["action"] == "allow"
    assert "finish_reason" not in pieces[-1].response_metadata


@pytest.mark.parametrize("way", ["stream", "astream", "invoke", "ainvoke"])
@pytest.mark.parametrize(("on_stop", "text"), [(OnStop.TRUNCATE, ""), (OnStop.REPLACE, "stopped by a safety policy")])
async def test_a_stopped_prompt_never_reaches_the_llm(
    make_guard: Any, script: Any, way: str, on_stop: OnStop, text: str
) -> None:
    """The LLM is not asked; the answer is empty or the policy's message."""
    inner = script()
    pieces = await gather(GuardedChatModel(inner, make_guard(on_stop=on_stop)), way, "Tell me☠")
    assert inner.asked == []
    assert text in text_of(pieces)
    assert bool(text) == bool(text_of(pieces))
    assert pieces[-1].response_metadata["finish_reason"] == "content_filter"
    assert pieces[-1].response_metadata["guardrail"]["direction"] == "prompt"


@pytest.mark.parametrize("way", ["stream", "astream", "invoke", "ainvoke"])
async def test_a_stopped_prompt_can_raise(make_guard: Any, script: Any, way: str) -> None:
    """on_stop = "raise" raises before the LLM is asked."""
    inner = script()
    with pytest.raises(ContentStopped):
        await gather(GuardedChatModel(inner, make_guard(on_stop=OnStop.RAISE)), way, "Tell me☠")
    assert inner.asked == []


def test_replace_follows_the_prefix_in_a_stream_and_stands_alone_otherwise(
    make_guard: Any, script: Any, samples: Any
) -> None:
    """on_stop = "replace" gives the message after the prefix when streamed, else instead of the text."""
    guard = make_guard(on_stop=OnStop.REPLACE)
    message = guard.policy.stop_message("Violent")
    model = GuardedChatModel(script(), guard)
    assert text_of(list(model.stream("How?"))) == samples.answer.split("☠")[0] + message
    assert model.invoke("How?").content == message


async def test_raise_comes_after_the_prefix(make_guard: Any, script: Any, samples: Any) -> None:
    """on_stop = "raise" gives out the prefix, then raises with the decision."""
    model = GuardedChatModel(script(), make_guard(on_stop=OnStop.RAISE))
    got = ""

    def read() -> None:
        nonlocal got
        for chunk in model.stream("How?"):
            got += chunk.text

    async def aread() -> None:
        nonlocal got
        async for chunk in model.astream("How?"):
            got += chunk.text

    with pytest.raises(ContentStopped) as stopped:
        read()
    with pytest.raises(ContentStopped):
        await aread()
    assert got == 2 * samples.answer.split("☠")[0]
    assert stopped.value.decision.category == "Violent"
    with pytest.raises(ContentStopped):
        model.invoke("How?")


def test_answer_mode_gives_nothing_before_the_end(make_guard: Any, script: Any, samples: Any) -> None:
    """release = "answer" holds the whole answer; a stop gives nothing at all."""
    guard = make_guard(release=ReleaseMode.ANSWER)
    assert text_of(list(GuardedChatModel(script(), guard).stream("How?"))) == ""
    pieces = list(GuardedChatModel(script(samples.safe), guard).stream("How?"))
    assert text_of(pieces) == samples.safe
    assert len([piece for piece in pieces if piece.text]) == 1


def test_shadow_mode_passes_everything_and_says_so(make_guard: Any, script: Any, samples: Any) -> None:
    """enforce = false lets the answer through with the decision that would have stopped it."""
    pieces = list(GuardedChatModel(script(), make_guard(enforce=False)).stream("How?"))
    assert text_of(pieces) == samples.answer
    assert pieces[-1].response_metadata["guardrail"]["would_action"] == "stop"


async def test_metadata_survives(guard: Any, script: Any) -> None:
    """Ids, usage, tool calls, extra arguments and metadata arrive as the LLM sent them."""
    usage: Any = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    call: Any = {"name": "look_up", "args": '{"word": "bread"}', "id": "call-1", "index": 0, "type": "tool_call_chunk"}
    chunks = [
        AIMessageChunk(content="Let me look", id="msg-1", additional_kwargs={"trace": "t1"}),
        AIMessageChunk(content=" that up.", id="msg-1"),
        AIMessageChunk(content="", id="msg-1", tool_call_chunks=[call]),
        AIMessageChunk(content="", id="msg-1", response_metadata={"finish_reason": "tool_calls", "model_name": "m"}),
        AIMessageChunk(content="", id="msg-1", usage_metadata=usage),
    ]
    model = GuardedChatModel(script(chunks=chunks), guard)
    for whole in (joined(model.stream("Q")), model.invoke("Q"), await model.ainvoke("Q")):
        assert (whole.text, whole.id, whole.usage_metadata) == ("Let me look that up.", "msg-1", usage)
        assert whole.additional_kwargs["trace"] == "t1"
        assert [(c["name"], c["args"], c["id"]) for c in whole.tool_calls] == [("look_up", {"word": "bread"}, "call-1")]
        assert whole.response_metadata["finish_reason"] == "tool_calls"
        assert whole.response_metadata["model_name"] == "m"


def test_what_follows_a_stop_in_the_same_chunk_never_leaves(guard: Any, script: Any, samples: Any) -> None:
    """Tool calls, log-probabilities and extra arguments behind stopped text are withheld with it."""
    call: Any = {"name": "look_up", "args": samples.secret, "id": "c", "index": 0, "type": "tool_call_chunk"}
    chunk = AIMessageChunk(
        content=samples.answer,
        tool_call_chunks=[call],
        additional_kwargs={"parsed": samples.secret},
        response_metadata={"logprobs": {"content": [samples.secret]}, "finish_reason": "stop", "model_name": "m"},
    )
    model = GuardedChatModel(script(chunks=[chunk]), guard)
    for whole in (joined(model.stream("Q")), model.invoke("Q")):
        assert samples.secret not in repr(whole)
        assert whole.tool_calls == []
        assert whole.response_metadata["finish_reason"] == "content_filter"
        assert whole.response_metadata["model_name"] == "m"


def test_a_cache_keeps_policies_apart(make_guard: Any, script: Any, samples: Any) -> None:
    """An answer cached under one policy is never given out under another; the cache holds released text only."""
    cache = InMemoryCache()
    inner = script(cache=cache)
    lenient = GuardedChatModel(inner, make_guard(enforce=False))
    assert lenient.invoke("Q").text == lenient.invoke("Q").text == samples.answer
    strict = GuardedChatModel(inner, make_guard())
    assert strict.invoke("Q").text == strict.invoke("Q").text == samples.answer.split("☠")[0]
    assert len(inner.asked) == 2


def test_the_conversation_is_the_context(guard: Any, script: Any, samples: Any, sink: Any) -> None:
    """The thread id of the running chain names the conversation in the records."""
    model = GuardedChatModel(script(samples.safe), guard)
    chain: Any = RunnableLambda(lambda text: [HumanMessage(text)]) | model
    chain.invoke("Hello", {"configurable": {"thread_id": "thread-7"}})
    assert {d.conversation_id for d in sink.decisions} == {"thread-7"}


async def test_a_call_names_its_conversation(guard: Any, script: Any, samples: Any, sink: Any) -> None:
    """Also without a chain around it, streamed, in a batch, and through a binding."""

    def settings(name: str) -> Any:
        return {"configurable": {"thread_id": name}}

    model = GuardedChatModel(script(samples.safe), guard)
    model.invoke("Q", settings("a"))
    await model.ainvoke("Q", settings("b"))
    assert list(model.stream("Q", settings("c")))
    assert [chunk async for chunk in model.astream("Q", settings("d"))]
    model.batch(["Q", "Q"], [settings("e"), settings("f")])
    model.bind(stop=["x"]).invoke("Q", settings("g"))
    model.invoke("Q", {"metadata": {"session_id": "h"}})
    names = [decision.conversation_id for decision in sink.decisions]
    assert sorted(names) == sorted("abcdefgh" * 2)


def test_a_stop_drops_tool_calls_and_unknown_metadata(guard: Any, script: Any, samples: Any) -> None:
    """Pieces of a call wait for the end, so that a stop leaves none that looks whole; unknown metadata goes."""
    call: Any = {"name": "rm", "args": '{"path": "/"}', "id": "c", "index": 0, "type": "tool_call_chunk"}
    chunks = [
        AIMessageChunk(content="Well.", tool_call_chunks=[call], additional_kwargs={"function_call": {"name": "rm"}}),
        AIMessageChunk(content=samples.answer, response_metadata={"output": samples.secret, "model_name": "m"}),
    ]
    model = GuardedChatModel(script(chunks=chunks), guard)
    for whole in (joined(model.stream("Q")), model.invoke("Q")):
        assert (whole.tool_calls, whole.additional_kwargs) == ([], {})
        assert samples.secret not in repr(whole)
        assert whole.response_metadata["model_name"].startswith("m")

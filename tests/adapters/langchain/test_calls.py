"""Tool calls are read while they stream, in every form that providers send them in; none leaves unjudged."""

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatResult

from guardrail.adapters.langchain import GuardedChatModel
from tests.adapters.langchain.call_forms import (
    FORMS,
    TALK,
    Form,
    answers,
    anthropic,
    joined,
    openai,
    piece_of,
    pieces,
    plain,
    responses,
    talk,
)


@pytest.mark.parametrize("form", FORMS)
async def test_a_safe_call_arrives_as_it_was_sent(guard: Any, script: Any, sink: Any, form: Form) -> None:
    """Every form of the call is put together as the core would have done without a guard, and was read once."""
    chunks = [talk(form), *form([("look_up", '{"word": "br\\u00f6t"}')])]
    streamed, astreamed, *_ = await answers(GuardedChatModel(script(chunks=chunks), guard))
    for whole in (streamed, astreamed):
        bare = joined(chunks)
        assert whole.content == bare.content
        assert whole.additional_kwargs == bare.additional_kwargs
        assert whole.tool_calls == bare.tool_calls
    calls = [d for d in sink.decisions if d.direction == "tool_call"]
    assert [(d.tool, d.action) for d in calls] == [("look_up", "allow")] * 4


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spelling", ["☠☠", "\\u2620\\u2620"])
async def test_a_risky_call_stops_the_answer(
    guard: Any, script: Any, samples: Any, sink: Any, ear: Any, form: Form, spelling: str
) -> None:
    """No form of it leaves, whether or not its text is escaped; the text before it stays; the LLM is closed at once."""
    args = '{"path": "/tmp", "text": "' + f"{spelling} the {samples.secret} part, " * 8 + '"}'
    chunks = [talk(form), *form([("write", args)])]
    inner = script(chunks=chunks)
    model = GuardedChatModel(inner, guard, callbacks=[ear])
    for whole in await answers(model):
        assert whole.text == TALK
        assert (whole.tool_calls, whole.invalid_tool_calls, whole.additional_kwargs) == ([], [], {})
        assert whole.response_metadata["finish_reason"] == "content_filter"
        assert whole.response_metadata["guardrail"]["direction"] == "tool_call"
        assert samples.secret not in repr(whole)
    assert samples.secret not in "".join(ear.heard)
    assert inner.n_chunks < len(chunks)
    assert {d.tool for d in sink.decisions if d.stopped} == {"write"}


@pytest.mark.parametrize("form", [plain, openai, anthropic, responses])
async def test_a_marked_call_leaves_without_its_arguments(
    make_guard: Any, script: Any, samples: Any, form: Form
) -> None:
    """on_call = "mark": of parallel calls the stopped one is emptied in every form; its neighbours are whole."""
    bad = f'{{"text": "☠☠ the {samples.secret} part"}}'
    chunks = form([("look_up", '{"word": "bread"}'), ("write", bad), ("look_up", '{"word": "cake"}')])
    guard = make_guard()
    model = GuardedChatModel(script(chunks=chunks), guard, on_call="mark")
    for whole in (joined(model.stream("Q")), joined([chunk async for chunk in model.astream("Q")])):
        assert samples.secret not in repr(whole)
        assert [record["action"] for record in whole.response_metadata["guardrail_calls"].values()] == [
            "allow", "stop", "allow"
        ]  # fmt: skip
        assert whole.response_metadata["guardrail"]["action"] == "allow"
        if whole.tool_calls:
            names = [(call["name"], call["args"], call["id"]) for call in whole.tool_calls]
            assert names == [
                ("look_up", {"word": "bread"}, "call-0"),
                ("write", {}, "call-1"),
                ("look_up", {"word": "cake"}, "call-2"),
            ]


async def test_whole_messages_are_marked_in_every_form(guard: Any, script: Any, samples: Any) -> None:
    """An answer that came whole keeps its form; the stopped call is empty in content, kwargs and lists."""
    text = f"☠☠ the {samples.secret} part"
    message = AIMessage(
        [{"type": "text", "text": TALK}, {"type": "tool_use", "id": "c1", "name": "write", "input": {"text": text}}],
        tool_calls=[{"name": "write", "args": {"text": text}, "id": "c1"}],
        invalid_tool_calls=[{"name": "write", "args": '{"text": "' + text, "id": "c2", "error": text}],
        additional_kwargs={
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "write", "arguments": json.dumps(text)}}
            ]
        },
        id="m1",
    )

    def answer(*_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=message)])

    kind = type("Whole", (samples.kinds["whole"],), {"_generate": answer})
    model = GuardedChatModel(script(kind=kind), guard, on_call="mark")
    for whole in (model.invoke("Q"), await model.ainvoke("Q")):
        assert samples.secret not in repr(whole)
        empty = {"type": "tool_use", "id": "c1", "name": "write", "input": {}}
        assert (whole.id, whole.content) == ("m1", [{"type": "text", "text": TALK}, empty])
        assert [(c["name"], c["args"], c["id"]) for c in whole.tool_calls] == [("write", {}, "c1")]
        assert [c["args"] for c in whole.invalid_tool_calls] == ["{}"]
        assert whole.additional_kwargs["tool_calls"][0]["function"] == {"name": "write", "arguments": "{}"}
    stopped = GuardedChatModel(script(kind=kind), guard).invoke("Q")
    assert stopped.text == TALK
    assert samples.secret not in repr(stopped)


def test_a_form_that_differs_is_judged_too(guard: Any, script: Any, samples: Any) -> None:
    """A risky copy beside a harmless call is found at the end, and the call of that id is refused whole."""
    raw = {"index": 0, "id": "c", "function": {"name": "write", "arguments": f'{{"a": "☠☠ {samples.secret}"}}'}}
    chunk = AIMessageChunk(
        content="", tool_call_chunks=[piece_of("write", '{"a": "b"}', "c", 0)], additional_kwargs={"tool_calls": [raw]}
    )
    whole = joined(GuardedChatModel(script(chunks=[chunk]), guard, on_call="mark").stream("Q"))
    assert samples.secret not in repr(whole)
    assert [call["args"] for call in whole.tool_calls] == [{}]
    assert joined(GuardedChatModel(script(chunks=[chunk]), guard).stream("Q")).tool_calls == []


@pytest.mark.parametrize("bad", [0, 1])
async def test_interleaved_calls_are_read_apart(guard: Any, script: Any, samples: Any, sink: Any, bad: int) -> None:
    """Parallel calls whose pieces alternate have a stream each: one record a call, and the right one is stopped."""
    args = [pieces('{"text": "flour and water, salt and yeast"}', 5)] * 2
    args[bad] = pieces(f'{{"text": "☠☠ the {samples.secret} part of it"}}', 5)
    chunks = [AIMessageChunk(content="", tool_call_chunks=[piece_of(f"tool_{i}", "", f"c{i}", i)]) for i in (0, 1)]
    for pair in zip(*args, strict=False):
        chunks += [
            AIMessageChunk(content="", tool_call_chunks=[piece_of(None, one, None, i)]) for i, one in enumerate(pair)
        ]
    chunks += [
        AIMessageChunk(content="", tool_call_chunks=[piece_of(None, one, None, 1)]) for one in args[1][len(args[0]) :]
    ]
    chunks += [
        AIMessageChunk(content="", tool_call_chunks=[piece_of(None, one, None, 0)]) for one in args[0][len(args[1]) :]
    ]
    model = GuardedChatModel(script(chunks=chunks), guard, on_call="mark")
    for whole in (joined(model.stream("Q")), joined([chunk async for chunk in model.astream("Q")])):
        assert [bool(call["args"]) for call in whole.tool_calls] == [bad != 0, bad != 1]
        assert samples.secret not in repr(whole)
    calls = [(d.tool, d.stopped) for d in sink.decisions if d.direction == "tool_call"]
    assert sorted(calls) == sorted([(f"tool_{i}", i == bad) for i in (0, 1)] * 2)

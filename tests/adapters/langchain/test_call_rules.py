"""What becomes of judged tool calls: rules of the policy, ways to stop, their context, and who finds the decisions."""

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk

from guardrail import Action, ContentStopped, OnStop, Policy, Rules, ToolRule, ToolRules, Trust
from guardrail.adapters.langchain import GuardedChatModel, GuardRunnable
from guardrail.adapters.langchain.calls import call_book
from guardrail.policy import ReleaseMode
from tests.adapters.langchain.call_forms import TALK, answers, joined, plain


def test_the_text_before_a_call_is_its_context(guard: Any, script: Any, samples: Any, sink: Any) -> None:
    """A marker in what the user asked, which the prompt check let pass, colours the calls too."""
    lenient = guard.with_policy(Policy(prompt=Rules(controversial=Action.FLAG, unsafe=Action.FLAG)))
    model = GuardedChatModel(script(chunks=plain([("look_up", '{"word": "bread"}')])), lenient)
    assert model.invoke("Tell me☠").tool_calls == []
    assert [d.direction for d in sink.decisions] == ["prompt", "response", "tool_call"]


@pytest.mark.parametrize(("trust", "action"), [(Trust.TRUSTED, "allow"), (Trust.READ, "stop"), (Trust.ASK, "ask")])
def test_rules_of_the_policy_hold(make_guard: Any, script: Any, samples: Any, trust: Trust, action: str) -> None:
    """A trusted tool's call passes unread; one that always asks is refused where nobody can be asked."""
    guard = make_guard(tools=ToolRules(names={"wri*": ToolRule(call=trust)}))
    text = "fine" if trust is Trust.ASK else "☠☠ bad"
    chunks = plain([("write", json.dumps({"text": text}))])
    whole = joined(GuardedChatModel(script(chunks=chunks), guard).stream("Q"))
    assert bool(whole.tool_calls) == (trust is Trust.TRUSTED)
    where = "guardrail" if action != "allow" else "guardrail_calls"
    record = whole.response_metadata[where]
    assert (record if action != "allow" else record["call-0"])["action"] == action
    marked = joined(GuardedChatModel(script(chunks=chunks), guard, on_call="mark").stream("Q"))
    assert [call["args"] for call in marked.tool_calls] == [{} if action == "stop" else {"text": text}]
    assert marked.response_metadata["guardrail_calls"]["call-0"]["action"] == action


@pytest.mark.parametrize("on_stop", list(OnStop))
def test_on_stop_holds_for_calls(make_guard: Any, script: Any, samples: Any, on_stop: OnStop) -> None:
    """A stopped call ends the answer as the policy says: truncated, with the message, or by exception."""
    guard = make_guard(on_stop=on_stop)
    model = GuardedChatModel(
        script(chunks=[AIMessageChunk(content=TALK), *plain([("write", '{"text": "☠☠ bad"}')])]), guard
    )
    if on_stop is OnStop.RAISE:
        with pytest.raises(ContentStopped) as stopped:
            model.invoke("Q")
        assert stopped.value.decision.tool == "write"
        return
    message = "" if on_stop is OnStop.TRUNCATE else guard.policy.stop_message("Violent")
    assert joined(model.stream("Q")).text == TALK + message
    assert model.invoke("Q").text == (message or TALK)


def test_answer_mode_holds_text_and_calls_together(make_guard: Any, script: Any, samples: Any) -> None:
    """release = "answer": where a call is stopped, its text does not leave either."""
    model = GuardedChatModel(
        script(chunks=[AIMessageChunk(content=TALK), *plain([("write", '{"text": "☠☠ bad"}')])]),
        make_guard(release=ReleaseMode.ANSWER),
    )
    assert [chunk.text for chunk in model.stream("Q")] == [""]
    assert model.invoke("Q").text == ""


@pytest.mark.filterwarnings("ignore::guardrail.adapters.langchain.RawCallbacksWarning")
@pytest.mark.parametrize("way", ["stream", "invoke"])
def test_a_plain_step_judges_calls_too(guard: Any, script: Any, samples: Any, way: str) -> None:
    """Behind an LLM in a plain sequence, whole answers and chunks keep all but a refused call."""
    usage: Any = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    step = GuardRunnable(guard)
    for text, n_calls in (("fine", 1), (f"☠☠ {samples.secret}", 0)):
        chunks = [AIMessageChunk(content=TALK, id="m"), *plain([("write", json.dumps({"text": text}))])]
        chunks.append(AIMessageChunk(content="", usage_metadata=usage))
        whole = joined((script(chunks=chunks) | step).stream("Q")) if way == "stream" else step.invoke(joined(chunks))
        assert (whole.text, whole.id, len(whole.tool_calls)) == (TALK, "m", n_calls)
        assert samples.secret not in repr(whole)
        assert not n_calls or whole.usage_metadata == usage


async def test_text_behind_a_call_goes_on(guard: Any, script: Any, samples: Any, sink: Any) -> None:
    """Text, a call, and text again: all is read, and a stop behind the call takes the call along."""
    for text in (samples.safe, samples.answer):
        chunks = [AIMessageChunk(content=TALK), *plain([("look_up", '{"word": "bread"}')]), *samples.cut(text, 3)]
        for whole in await answers(GuardedChatModel(script(chunks=chunks), guard)):
            assert whole.text == TALK + text.split("☠")[0]
            assert bool(whole.tool_calls) == (text == samples.safe)
    assert sink.decisions[-1].n_repairs == 0


def test_the_same_call_twice_has_the_harder_decision(guard: Any, script: Any) -> None:
    """A call that passed is refused after all if its twin, behind risky text, is."""
    one = ("look_up", '{"word": "bread"}')
    first, second = plain([one]), plain([one, one])[-len(plain([one])) :]
    chunks = [*first, AIMessageChunk(content=f"{TALK} ☠"), *second]
    whole = joined(GuardedChatModel(script(chunks=chunks), guard, on_call="mark").stream("Q"))
    assert [call["args"] for call in whole.tool_calls] == [{}, {}]


async def test_a_call_does_not_cut_a_run_of_risky_tokens_in_two(guard: Any, script: Any, samples: Any) -> None:
    """The last token before a call is risky, and so is the first behind it: together they stop, and neither leaves."""
    chunks = [AIMessageChunk(content=f"{TALK} ☠"), *plain([("look_up", "{}")]), *samples.cut("☠ and so on", 1)]
    for whole in await answers(GuardedChatModel(script(chunks=chunks), guard, on_call="mark")):
        assert whole.text.strip() == TALK
        assert whole.tool_calls == []


def test_decisions_are_kept_for_whoever_runs_the_calls(guard: Any, script: Any, samples: Any) -> None:
    """The book of the guard finds a call by conversation, id, name and arguments as they left, and no changed one."""
    chunks = plain([("look_up", '{"word": "bread"}'), ("write", f'{{"text": "☠☠ {samples.secret}"}}')])
    model = GuardedChatModel(script(chunks=chunks), guard, on_call="mark")
    model.invoke("Q", {"configurable": {"thread_id": "t"}})
    book = call_book(guard)
    good = book.find("t", "call-0", "look_up", {"word": "bread"})
    bad = book.find("t", "call-1", "write", {})
    assert good
    assert bad
    assert (good.action, bad.action) == ("allow", "stop")
    assert book.find("t", "call-0", "look_up", {"word": "cake"}) is None
    assert book.find("u", "call-0", "look_up", {"word": "bread"}) is None


async def test_a_caller_that_leaves_during_a_call_closes_everything(
    guard: Any, script: Any, samples: Any, sink: Any
) -> None:
    """An LLM that dies inside a call leaves an abandoned call, and nothing of it has left."""
    chunks = [AIMessageChunk(content=TALK), *plain([("write", '{"text": "half of ')])]
    model = GuardedChatModel(script(chunks=chunks, error=ConnectionError("upstream")), guard)
    got: list[Any] = []

    async def read() -> None:
        async for chunk in model.astream("Q"):
            got.append(chunk)  # noqa: PERF401 - what came before the exception counts

    with pytest.raises(ConnectionError):
        await read()
    assert TALK.startswith("".join(chunk.text for chunk in got))
    assert not any(chunk.tool_call_chunks for chunk in got)
    assert [(d.direction, d.reason) for d in sink.decisions] == [
        ("prompt", "clear"),
        ("response", "clear"),
        ("tool_call", "abandoned"),
    ]

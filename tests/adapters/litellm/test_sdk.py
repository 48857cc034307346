"""Guarded calls of the SDK, and its callback, against a real upstream."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import litellm
import pytest
from litellm.integrations.custom_logger import CustomLogger

from guardrail import Action, ContentStopped, Decision, Guard, OnStop
from guardrail.adapters.litellm import GuardCallback, guarded_acompletion, guarded_completion
from guardrail.records import MemorySink
from tests.adapters.litellm.conftest import BAD_PROMPT
from tests.adapters.litellm.gatekeepers import make_guard
from tests.wire.texts import BAD, CLEAN, call_deltas
from tests.wire.upstream import Script, Upstream

# LiteLLM leaves loops and sockets of its workers to the interpreter's end
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Plays = Callable[..., tuple[str, Script]]
Ask = Callable[..., list[Any]]


@pytest.fixture(autouse=True)
def callbacks() -> Iterator[None]:
    """Leave LiteLLM's callbacks as they were."""
    before = list(litellm.callbacks)
    yield
    litellm.logging_callback_manager._reset_all_callbacks()  # type: ignore[no-untyped-call]  # litellm's
    litellm.callbacks = before


def request(upstream: Upstream, prompt: str, **options: Any) -> dict[str, Any]:
    """Return the arguments of a call."""
    said = [{"role": "user", "content": prompt}]
    return {"model": "openai/m", "messages": said, "api_base": upstream.url, "api_key": "none", **options}


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, upstream: Upstream) -> Ask:
    """Stream an answer and return its chunks, in one way after the other."""
    options = globals()["request"]

    async def in_task(guard: Guard, prompt: str, **more: Any) -> list[Any]:
        stream = await guarded_acompletion(guard=guard, **options(upstream, prompt, stream=True, **more))
        return [chunk async for chunk in stream]

    def in_thread(guard: Guard, prompt: str, **more: Any) -> list[Any]:
        return list(guarded_completion(guard=guard, **options(upstream, prompt, stream=True, **more)))

    if request.param == "sync":
        return in_thread
    return lambda *args, **more: asyncio.run(in_task(*args, **more))


class Ear(CustomLogger):
    """Hears all that LiteLLM tells its callbacks of answers."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__()
        self.heard = heard

    def log_success_event(self, *args: Any, **kwargs: Any) -> None:
        """Hear a call of a thread."""
        self.heard.append(str((args, kwargs)))

    async def async_log_success_event(self, *args: Any, **kwargs: Any) -> None:
        """Hear a call of a task."""
        self.heard.append(str((args, kwargs)))


def read_all(options: dict[str, Any]) -> list[Any]:
    """Stream an answer, and read it."""
    return list(guarded_completion(guard=make_guard(), **options))


def text_of(chunks: list[Any], index: int = 0) -> str:
    """Return the text of a choice."""
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def ends_of(chunks: list[Any], index: int = 0) -> list[str]:
    """Return the finish reasons of a choice."""
    return [c.finish_reason for chunk in chunks for c in chunk.choices if c.index == index and c.finish_reason]


@pytest.mark.parametrize("size", [1, 4, 40])
def test_a_stream_is_cut_and_the_llm_closed(ask: Ask, plays: Plays, size: int) -> None:
    """The clean prefix leaves, then content_filter, usage if asked for; the connection upstream ends."""
    prompt, script = plays(Script.of(CLEAN + BAD, size=size, is_endless=True, pause_s=0.005))
    chunks = ask(make_guard(), prompt, stream_options={"include_usage": True})
    assert text_of(chunks) == CLEAN
    assert ends_of(chunks) == ["content_filter"]
    assert chunks[-1].usage.completion_tokens > 0
    assert script.ended.wait(5)
    assert script.was_cut


def test_a_harmless_stream_leaves_whole(ask: Ask, plays: Plays) -> None:
    """Text, call and end."""
    prompt, _ = plays(Script(call_deltas("search", '{"q": "bread"}', size=4, text=CLEAN), "tool_calls"))
    chunks = ask(make_guard(), prompt)
    assert text_of(chunks) == CLEAN
    calls = [call for chunk in chunks for c in chunk.choices for call in c.delta.tool_calls or ()]
    assert "".join(call.function.arguments or "" for call in calls) == '{"q": "bread"}'
    assert ends_of(chunks) == ["tool_calls"]


def test_a_risky_call_never_leaves(ask: Ask, plays: Plays) -> None:
    """No fragment of it."""
    prompt, _ = plays(Script(call_deltas("search", json.dumps({"q": BAD}), size=4, text=CLEAN), "tool_calls"))
    chunks = ask(make_guard(), prompt)
    assert not [chunk for chunk in chunks for c in chunk.choices if c.delta.tool_calls]
    assert ends_of(chunks) == ["content_filter"]


def test_choices_have_gates_of_their_own(ask: Ask, plays: Plays) -> None:
    """One is cut, the other goes on."""
    deltas = [{"index": 1, "content": CLEAN + BAD}, {"index": 0, "content": CLEAN}, {"index": 1, "content": "more"}]
    prompt, _ = plays(Script(deltas))
    chunks = ask(make_guard(), prompt, n=2)
    assert [text_of(chunks, index) for index in (0, 1)] == [CLEAN, CLEAN]
    assert ends_of(chunks, 1) == ["content_filter"]


def test_a_stream_is_repaired(ask: Ask, plays: Plays) -> None:
    """The LLM goes on behind what was released."""
    prompt, _ = plays(Script.of(CLEAN + BAD), Script.of(" Now bake it."))
    chunks = ask(make_guard(on_stop=OnStop.REPAIR), prompt)
    assert text_of(chunks) == CLEAN + " Now bake it."
    assert ends_of(chunks) == ["stop"]


def test_a_policy_that_raises_raises(ask: Ask, plays: Plays) -> None:
    """With the decision; a prompt before the LLM is asked."""
    prompt, script = plays(Script.of(CLEAN + BAD))
    guard = make_guard(on_stop=OnStop.RAISE)
    with pytest.raises(ContentStopped) as caught:
        ask(guard, prompt)
    assert caught.value.decision.stop_offset == len(CLEAN)
    n_requests = len(script.requests)
    with pytest.raises(ContentStopped):
        ask(guard, f"{prompt} {BAD_PROMPT}")
    assert len(script.requests) == n_requests


def test_a_stopped_prompt_is_answered_without_the_llm(ask: Ask, plays: Plays) -> None:
    """An empty answer, or the policy's message."""
    prompt, script = plays(Script.of(CLEAN))
    assert text_of(ask(make_guard(), f"{prompt} {BAD_PROMPT}")) == ""
    chunks = ask(make_guard(on_stop=OnStop.REPLACE), f"{prompt} {BAD_PROMPT}")
    assert text_of(chunks) == "This content was stopped by a safety policy."
    assert ends_of(chunks) == ["content_filter"]
    assert not script.requests


def test_closing_a_stream_closes_the_llm(upstream: Upstream, plays: Plays) -> None:
    """Before the first chunk, and after."""
    for n_read in (0, 2):
        prompt, script = plays(Script.of(CLEAN, is_endless=True, pause_s=0.005))
        with guarded_completion(guard=make_guard(), **request(upstream, prompt, stream=True)) as stream:
            for _ in range(n_read):
                next(stream)
        assert script.ended.wait(5)
        assert script.was_cut


async def test_closing_an_asynchronous_stream_closes_the_llm(upstream: Upstream, plays: Plays) -> None:
    """Before the first chunk, and after."""
    for n_read in (0, 2):
        prompt, script = plays(Script.of(CLEAN, is_endless=True, pause_s=0.005))
        async with await guarded_acompletion(guard=make_guard(), **request(upstream, prompt, stream=True)) as stream:
            for _ in range(n_read):
                await anext(stream)
        assert await asyncio.to_thread(script.ended.wait, 5)
        assert script.was_cut


async def test_whole_answers_are_cut(upstream: Upstream, plays: Plays) -> None:
    """By position or by keyword, sync and async."""
    prompt, _ = plays(Script.of(CLEAN + BAD))
    options = request(upstream, prompt)
    positional = [options.pop("model"), options.pop("messages")]
    sync = await asyncio.to_thread(lambda: guarded_completion(*positional, guard=make_guard(), **options))
    for response in (sync, await guarded_acompletion(*positional, guard=make_guard(), **options)):
        (choice,) = response.choices
        assert (choice.message.content, choice.finish_reason) == (CLEAN, "content_filter")


async def test_poisoned_results_are_replaced_for_the_llm_only(upstream: Upstream, plays: Plays) -> None:
    """The caller's own messages stay as they are; what one guard let pass, another reads itself."""
    prompt, script = plays(Script.of(CLEAN))
    call = {"id": "call0", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    options = request(upstream, prompt)
    options["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call0", "content": f"Orders {BAD}"},
    ]
    await guarded_acompletion(guard=make_guard(enforce=False), **options)
    assert "FORBIDDEN" in json.dumps(script.requests[-1])
    await guarded_acompletion(guard=make_guard(), **options)
    assert "FORBIDDEN" not in json.dumps(script.requests[-1])
    assert "FORBIDDEN" in json.dumps(options["messages"])


async def test_the_callback_records_and_flags(upstream: Upstream, plays: Plays) -> None:
    """Whole answers and streams, sync and async; nothing is changed."""
    sink, flags = MemorySink(), list[Decision]()
    guard = Guard(make_guard().engine, make_guard().reader, policy=make_guard().policy, sinks=[sink])
    litellm.callbacks = [GuardCallback(guard, flags.append)]
    prompt, _ = plays(Script.of(CLEAN + BAD))
    whole = await litellm.acompletion(**request(upstream, prompt))
    assert whole.choices[0].message.content == CLEAN + BAD
    chunks = [chunk async for chunk in await litellm.acompletion(**request(upstream, prompt, stream=True))]
    assert text_of(chunks) == CLEAN + BAD
    await asyncio.to_thread(lambda: list(litellm.completion(**request(upstream, prompt, stream=True))))
    for _ in range(100):
        if len(flags) == 3:
            break
        await asyncio.sleep(0.05)
    assert [(flag.action, flag.would_action) for flag in flags] == [(Action.FLAG, Action.STOP)] * 3
    assert len(sink.decisions) == 6


async def test_cut_streams_reach_no_callback(upstream: Upstream, plays: Plays) -> None:
    """What was withheld is not in what LiteLLM hands to its callbacks; of whole answers `no-log` keeps it out."""
    heard: list[str] = []
    litellm.callbacks = [Ear(heard)]
    for size in (3, 200):
        prompt, _ = plays(Script.of(CLEAN + BAD, size=size))
        await asyncio.to_thread(read_all, request(upstream, prompt, stream=True))
        stream = await guarded_acompletion(guard=make_guard(), **request(upstream, prompt, stream=True))
        assert text_of([chunk async for chunk in stream]) == CLEAN
        unlogged = {"no-log": True, **request(upstream, prompt)}
        await asyncio.to_thread(guarded_completion, guard=make_guard(), **unlogged)
    prompt, _ = plays(Script.of("A harmless HEARD answer."))
    await asyncio.to_thread(read_all, request(upstream, prompt, stream=True))
    for _ in range(100):
        if "HEARD" in "".join(heard):
            break
        await asyncio.sleep(0.05)
    assert "HEARD" in "".join(heard)
    assert "FORBIDDEN" not in "".join(heard)

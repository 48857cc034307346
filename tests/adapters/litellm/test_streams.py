"""Chat streams through a real proxy: what leaves, what stays, how they end, and when the LLM is cut off."""

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.adapters.litellm.conftest import Proxy
from tests.wire.texts import BAD, CLEAN, call_deltas, dig
from tests.wire.upstream import Script

pytestmark = pytest.mark.slow

Plays = Callable[..., tuple[str, Script]]


@pytest.fixture
def client(proxy: Proxy) -> openai.OpenAI:
    """OpenAI's own client."""
    return openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=proxy.key, max_retries=0)


def chat(client: Any, prompt: str, *, guardrail: str = "cut", **options: Any) -> Any:
    """Stream an answer."""
    return client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": prompt}], stream=True,
        extra_body={"guardrails": [guardrail]}, **options,
    )  # fmt: skip


def text_of(chunks: list[Any], index: int = 0, field: str = "content") -> str:
    """Return the text of a choice."""
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(getattr(choice.delta, field, None) or "" for choice in choices)


def ends_of(chunks: list[Any], index: int = 0) -> list[str]:
    """Return the finish reasons of a choice."""
    return [c.finish_reason for chunk in chunks for c in chunk.choices if c.index == index and c.finish_reason]


@pytest.mark.parametrize("size", [1, 3, 40])
def test_a_harmless_stream_leaves_whole(client: openai.OpenAI, plays: Plays, size: int) -> None:
    """Every character and the LLM's own end arrive."""
    prompt, script = plays(Script.of(CLEAN, size=size))
    chunks = list(chat(client, prompt))
    assert text_of(chunks) == CLEAN
    assert ends_of(chunks) == ["stop"]
    assert not script.was_cut


@pytest.mark.parametrize("size", [1, 3, 40])
def test_a_risky_stream_is_cut_and_the_llm_closed(client: openai.OpenAI, plays: Plays, size: int) -> None:
    """The clean prefix leaves, then content_filter; the connection upstream ends although the LLM would go on."""
    prompt, script = plays(Script.of(CLEAN + BAD, size=size, is_endless=True, pause_s=0.005))
    chunks = list(chat(client, prompt))
    assert text_of(chunks) == CLEAN
    assert ends_of(chunks) == ["content_filter"]
    assert script.ended.wait(5)
    assert script.was_cut


def test_text_leaves_while_the_llm_still_writes(client: openai.OpenAI, plays: Plays) -> None:
    """The first words arrive long before the answer is complete."""
    prompt, script = plays(Script.of(CLEAN * 5, size=4, pause_s=0.02))
    for chunk in chat(client, prompt):
        if text_of([chunk]):
            break
    assert script.n_sent < 10


def test_a_cut_stream_is_valid_protocol(proxy: Proxy, plays: Plays) -> None:
    """One finish reason, usage if asked for, [DONE]; no byte of the risky text."""
    prompt, _ = plays(Script.of(CLEAN + BAD))
    got = proxy.post(
        "/v1/chat/completions", model="m", messages=[{"role": "user", "content": prompt}], stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    frames = [line.removeprefix("data: ") for line in got.text.split("\n\n") if line]
    assert frames[-1] == "[DONE]"
    chunks = [json.loads(frame) for frame in frames[:-1]]
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    reasons = [choice.get("finish_reason") for chunk in chunks for choice in chunk["choices"]]
    assert [reason for reason in reasons if reason] == ["content_filter"]
    assert "☠" not in "".join(dig(chunks))


def test_a_policy_that_replaces_says_so(client: openai.OpenAI, plays: Plays) -> None:
    """The policy's message follows the clean prefix."""
    prompt, _ = plays(Script.of(CLEAN + BAD))
    chunks = list(chat(client, prompt, guardrail="say"))
    assert text_of(chunks) == CLEAN + "This content was stopped by a safety policy."
    assert ends_of(chunks) == ["content_filter"]


def test_a_policy_that_raises_ends_with_an_error_frame(client: openai.OpenAI, plays: Plays) -> None:
    """The clean prefix leaves; then the client's own exception, which says why, and not a broken connection."""
    prompt, script = plays(Script.of(CLEAN + BAD, is_endless=True, pause_s=0.005))
    chunks: list[Any] = []
    with pytest.raises(openai.APIError, match="stopped by a safety policy"):
        chunks.extend(chat(client, prompt, guardrail="raise"))
    assert text_of(chunks) == CLEAN
    assert script.ended.wait(5)


def test_a_policy_that_holds_answers_lets_nothing_of_a_stopped_one_out(client: openai.OpenAI, plays: Plays) -> None:
    """`release = "answer"`: no text at all."""
    prompt, _ = plays(Script.of(CLEAN + BAD))
    chunks = list(chat(client, prompt, guardrail="whole"))
    assert text_of(chunks) == ""
    assert ends_of(chunks) == ["content_filter"]


def test_a_repaired_stream_goes_on_behind_what_was_released(client: openai.OpenAI, plays: Plays, proxy: Proxy) -> None:
    """The LLM is asked again with the released text and an instruction; LiteLLM logs what the reader saw."""
    first = Script.of(CLEAN + BAD, is_endless=True, pause_s=0.005)
    prompt, _ = plays(first, Script.of(" Now bake it."))
    chunks = list(chat(client, prompt, guardrail="repair"))
    assert text_of(chunks) == CLEAN + " Now bake it."
    assert ends_of(chunks) == ["stop"]
    assert [m["role"] for m in proxy.upstream.latest(prompt).requests[-1]["messages"]] == ["user", "assistant", "user"]
    assert first.was_cut
    logged = proxy.logged(prompt)["logged"]
    assert logged["response"]["choices"][0]["message"]["content"] == CLEAN + " Now bake it."


def test_a_stream_that_cannot_be_repaired_ends_with_the_message(client: openai.OpenAI, plays: Plays) -> None:
    """After the policy's number of attempts the reader is told."""
    prompt, _ = plays(Script.of(CLEAN + BAD), Script.of(BAD))
    chunks = list(chat(client, prompt, guardrail="repair"))
    assert text_of(chunks) == CLEAN + "This content was stopped by a safety policy."
    assert ends_of(chunks) == ["content_filter"]


def test_a_risky_choice_is_cut_and_the_other_goes_on(client: openai.OpenAI, plays: Plays) -> None:
    """Each choice has its own gate; the connection stays open for the other one."""
    texts = (CLEAN, f"{CLEAN}{BAD} and much more of it, in many words")
    cut = [[text[i : i + 3] for i in range(0, len(text), 3)] for text in texts]
    deltas = [{"index": i, "content": piece} for i, pieces in enumerate(cut) for piece in pieces]
    random.Random(7).shuffle(deltas)
    for index, pieces in enumerate(cut):
        places = [i for i, delta in enumerate(deltas) if delta["index"] == index]
        for place, piece in zip(places, pieces, strict=True):
            deltas[place] = {"index": index, "content": piece}
    prompt, script = plays(Script(deltas))
    chunks = list(chat(client, prompt, n=2))
    assert [text_of(chunks, index) for index in (0, 1)] == [CLEAN, CLEAN]
    assert ends_of(chunks, 0) == ["stop"]
    assert ends_of(chunks, 1) == ["content_filter"]
    assert not script.was_cut


def test_reasoning_is_read(client: openai.OpenAI, plays: Plays) -> None:
    """Harmless reasoning leaves under its own name; risky reasoning ends the answer."""
    prompt, _ = plays(Script([{"reasoning_content": "Let me think."}, {"content": CLEAN}]))
    chunks = list(chat(client, prompt))
    assert (text_of(chunks, field="reasoning_content"), text_of(chunks)) == ("Let me think.", CLEAN)
    prompt, _ = plays(Script([{"reasoning_content": f"Let me think.{BAD}"}, {"content": CLEAN}]))
    chunks = list(chat(client, prompt))
    assert (text_of(chunks, field="reasoning_content"), text_of(chunks)) == ("Let me think.", "")
    assert ends_of(chunks) == ["content_filter"]


@pytest.mark.parametrize("size", [1, 5, 60])
def test_a_harmless_call_leaves_whole(client: openai.OpenAI, plays: Plays, size: int) -> None:
    """Its fragments arrive after the text, in order."""
    prompt, _ = plays(Script(call_deltas("search", '{"q": "bread"}', size=size, text=CLEAN), "tool_calls"))
    chunks = list(chat(client, prompt))
    calls = [call for chunk in chunks for c in chunk.choices for call in c.delta.tool_calls or ()]
    assert calls[0].function.name == "search"
    assert "".join(call.function.arguments or "" for call in calls) == '{"q": "bread"}'
    assert text_of(chunks) == CLEAN
    assert ends_of(chunks) == ["tool_calls"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        pytest.param("search", json.dumps({"q": BAD}, ensure_ascii=False), id="stopped"),
        pytest.param("search", json.dumps({"q": BAD}), id="stopped-behind-escapes"),
        pytest.param("search", json.dumps({"q": "☢☢ dubious"}, ensure_ascii=False), id="would-ask"),
        pytest.param("pay", '{"amount": 5}', id="always-asks"),
    ],
)
def test_no_fragment_of_a_refused_call_leaves(client: openai.OpenAI, plays: Plays, name: str, arguments: str) -> None:
    """A stopped call, or one that would need a person's consent, ends the choice."""
    prompt, _ = plays(Script(call_deltas(name, arguments, size=5, text=CLEAN), "tool_calls"))
    chunks = list(chat(client, prompt))
    assert not [chunk for chunk in chunks for c in chunk.choices if c.delta.tool_calls]
    assert text_of(chunks) == CLEAN
    assert ends_of(chunks) == ["content_filter"]


def test_a_risky_call_takes_the_harmless_one_beside_it_back(client: openai.OpenAI, plays: Plays) -> None:
    """Calls of one turn leave together or not at all."""
    good = call_deltas("search", '{"q": "bread"}', size=5)
    bad = call_deltas("search", json.dumps({"q": BAD}, ensure_ascii=False), size=5, index=1)
    prompt, _ = plays(Script([*good, *bad], "tool_calls"))
    chunks = list(chat(client, prompt))
    assert not [chunk for chunk in chunks for c in chunk.choices if c.delta.tool_calls]
    assert ends_of(chunks) == ["content_filter"]


def test_what_an_llm_that_dies_had_not_been_cleared_for_stays_back(proxy: Proxy, plays: Plays) -> None:
    """A marker that waits for its verdict is dropped with the connection; the client gets an error frame."""
    prompt, _ = plays(Script.of("Bread.☠", size=1, dies=True))
    got = proxy.post("/v1/chat/completions", model="m", messages=[{"role": "user", "content": prompt}], stream=True)
    frames = [json.loads(line.removeprefix("data: ")) for line in got.text.split("\n\n") if line]
    assert "error" in frames[-1]
    assert "☠" not in "".join(dig(frames))


def test_a_client_that_leaves_closes_the_llm(client: openai.OpenAI, plays: Plays) -> None:
    """The connection upstream ends with the reader's."""
    prompt, script = plays(Script.of(CLEAN, is_endless=True, pause_s=0.005))
    with chat(client, prompt) as stream:
        next(iter(stream))
    assert script.ended.wait(5)
    assert script.was_cut


def test_a_subclass_that_defines_nothing_guards(client: openai.OpenAI, plays: Plays) -> None:
    """LiteLLM looks for hooks in the leaf class only; ours finds its way there."""
    prompt, _ = plays(Script.of(CLEAN + BAD))
    chunks = list(chat(client, prompt, guardrail="inherited"))
    assert text_of(chunks) == CLEAN
    assert ends_of(chunks) == ["content_filter"]


async def test_fifty_parallel_streams_do_not_mix(proxy: Proxy, plays: Plays) -> None:
    """Each reader gets its own words; every second one is cut where its own text turns risky."""
    asked = []
    for i in range(50):
        own = f"Answer {i} " + f"word{i} " * 6
        asked.append((own, *plays(Script.of(own + BAD * (i % 2), size=3, pause_s=0.001))))
    async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=proxy.key, max_retries=0) as client:

        async def read(prompt: str) -> list[Any]:
            return [chunk async for chunk in await chat(client, prompt)]

        got = await asyncio.gather(*(read(prompt) for _, prompt, _ in asked))
    for i, (chunks, (own, _, _)) in enumerate(zip(got, asked, strict=True)):
        assert text_of(chunks) == own
        assert ends_of(chunks) == [("stop", "content_filter")[i % 2]]

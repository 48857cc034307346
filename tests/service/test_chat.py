"""The guarding proxy, asked by OpenAI's own client: only `base_url` was changed."""

import asyncio
import json
from typing import Any

import httpx
import openai
import pytest

from tests.service.proxying import FORMS, JSON, Plays, chat, ends_of, frames_of, post, proxying, text_of
from tests.service.servers import Serving
from tests.wire.texts import BAD, CLEAN, call_deltas, dig, shown
from tests.wire.upstream import Script, Upstream

RISKY = json.dumps({"q": BAD}, ensure_ascii=False)


def summary_of(chunk: Any) -> dict[str, Any]:
    """Return what the last choice of a chunk or completion says of the guard."""
    found: dict[str, Any] = chunk.choices[-1].model_extra["guardrail"]
    return found


@pytest.mark.parametrize("size", [1, 3, 40])
def test_a_harmless_stream_leaves_whole(openai_client: openai.OpenAI, plays: Plays, size: int) -> None:
    """Every character, the LLM's own end and its usage arrive."""
    prompt, script = plays(Script.of(CLEAN, size=size))
    chunks = list(chat(openai_client, prompt, stream_options={"include_usage": True}))
    assert text_of(chunks) == CLEAN
    assert ends_of(chunks) == ["stop"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage.total_tokens == 18
    assert not script.was_cut


@pytest.mark.parametrize("size", [1, 3, 40])
def test_a_risky_stream_is_cut_and_the_upstream_closed(openai_client: openai.OpenAI, plays: Plays, size: int) -> None:
    """The clean prefix leaves, then content_filter with the stop's summary; the upstream sees the reader hang up."""
    prompt, script = plays(Script.of(CLEAN + BAD, size=size, is_endless=True, pause_s=0.005))
    chunks = list(chat(openai_client, prompt))
    assert text_of(chunks) == CLEAN
    assert ends_of(chunks) == ["content_filter"]
    assert (summary_of(chunks[-1])["action"], summary_of(chunks[-1])["category"]) == ("stop", "Violent")
    assert script.ended.wait(5)
    assert script.was_cut


async def test_an_asynchronous_client_is_served_alike(proxy: Serving, plays: Plays) -> None:
    """Twenty at once do not mix; every second one is cut where its own text turns risky."""
    asked = []
    for i in range(20):
        own = f"Answer {i} " + f"word{i} " * 6
        asked.append((own, *plays(Script.of(own + BAD * (i % 2), size=3, pause_s=0.001))))
    async with openai.AsyncOpenAI(base_url=proxy.base_url, api_key="any", max_retries=0) as client:

        async def read(prompt: str) -> list[Any]:
            return [chunk async for chunk in await chat(client, prompt)]

        got = await asyncio.gather(*(read(prompt) for _, prompt, _ in asked))
    for i, (chunks, (own, _, _)) in enumerate(zip(got, asked, strict=True)):
        assert text_of(chunks) == own
        assert ends_of(chunks) == [("stop", "content_filter")[i % 2]]


def test_text_leaves_while_the_llm_still_writes(openai_client: openai.OpenAI, plays: Plays) -> None:
    """The first words arrive long before the answer is complete."""
    prompt, script = plays(Script.of(CLEAN, size=4, hangs=True))
    with chat(openai_client, prompt) as stream:
        for chunk in stream:
            if text_of([chunk]):
                break
    assert script.ended.wait(5)


def test_a_cut_stream_is_valid_protocol(proxy: Serving, plays: Plays) -> None:
    """One finish reason, then [DONE]; no byte of the risky text."""
    prompt, _ = plays(Script.of(CLEAN + BAD))
    got = post(proxy, "chat/completions", prompt, stream=True)
    *chunks, last = frames_of(got.text)
    assert (got.headers["content-type"], last) == ("text/event-stream; charset=utf-8", "[DONE]")
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert [reason for reason in reasons if reason] == ["content_filter"]
    assert "☠" not in "".join(dig(chunks))


@pytest.mark.parametrize("form", FORMS)
def test_a_harmless_whole_answer_is_the_llms_own(proxy: Serving, plays: Plays, form: str) -> None:
    """Byte for byte in its meaning, in each format."""
    prompt, _ = plays(Script.of(CLEAN, size=3))
    held = post(proxy, form, prompt).json()
    direct = httpx.post(
        f"{proxy.app.state.service.settings.upstream.base_url}/{form}", json={"model": "m", "input": prompt}, timeout=30
    ).json()
    assert held == direct


@pytest.mark.parametrize("form", FORMS)
def test_a_risky_whole_answer_is_cut(proxy: Serving, plays: Plays, form: str) -> None:
    """The prefix is left, and the format's own word for filtered content."""
    prompt, _ = plays(Script.of(CLEAN + BAD, size=3))
    held = post(proxy, form, prompt).json()
    assert "FORBIDDEN" not in "".join(dig(held))
    assert {CLEAN, "content_filter", "Violent"} <= set(dig(held))


@pytest.mark.parametrize("form", FORMS)
def test_every_format_is_cut_as_it_streams(proxy: Serving, plays: Plays, form: str) -> None:
    """The clean text leaves, the format's own end follows, and the upstream is closed."""
    prompt, script = plays(Script.of(CLEAN + BAD, is_endless=True, pause_s=0.005))
    frames = frames_of(post(proxy, form, prompt, stream=True).text)
    assert shown(form, [one for one in frames if one != "[DONE]"]) == CLEAN
    assert (frames[-1] == "[DONE]") is (form != "responses")
    assert {"content_filter", "Violent"} <= set(dig(frames))
    assert "☠" not in "".join(dig(frames))
    assert script.ended.wait(5)
    assert script.was_cut


def test_the_request_goes_on_as_it_is_with_our_key_and_few_headers(proxy: Serving, plays: Plays) -> None:
    """Fields that nobody knows pass; the client's key and cookies do not."""
    prompt, script = plays(Script.of(CLEAN))
    body = {"model": "m", "messages": [{"role": "user", "content": prompt, "mood": 1}], "top_k": 3, "x": {"y": [None]}}
    headers = {"authorization": "Bearer mine", "cookie": "a=b", "openai-organization": "org", "x-secret": "s"}
    assert httpx.post(f"{proxy.base_url}/chat/completions", json=body, headers=headers).status_code == 200
    assert script.requests == [body]
    head = script.heads[0]
    assert (head["authorization"], head["openai-organization"]) == ("Bearer up-key", "org")
    assert not {"cookie", "x-secret"} & set(head)


def test_a_name_that_stands_twice_has_one_value_for_guard_and_llm(proxy: Serving, plays: Plays) -> None:
    """Else the guard could read one prompt and the LLM the other."""
    prompt, script = plays(Script.of(CLEAN))
    twice = f'{{"messages": [{{"role": "user", "content": "{BAD}"}}], "messages": [{{"content": "{prompt}"}}]}}'
    httpx.post(f"{proxy.base_url}/chat/completions", content=twice.encode(), headers=JSON)
    assert script.requests == [{"messages": [{"content": prompt}]}]


def test_the_clients_key_is_forwarded_where_the_settings_say_so(upstream: Upstream, plays: Plays) -> None:
    """For servers without keys of their own."""
    prompt, script = plays(Script.of(CLEAN))
    with proxying(upstream.url, forward_authorization=True) as proxy:
        client = openai.OpenAI(base_url=proxy.base_url, api_key="mine", max_retries=0)
        with client, chat(client, prompt) as stream:
            list(stream)
    assert script.heads[0]["authorization"] == "Bearer mine"


def test_a_risky_choice_is_cut_and_the_other_goes_on(openai_client: openai.OpenAI, plays: Plays) -> None:
    """Each choice has its own gate; the connection stays open for the other one."""
    texts = (CLEAN, f"{CLEAN}{BAD} and much more of it, in many words")
    deltas = [{"index": i % 2, "content": texts[i % 2][i // 2 * 3 : i // 2 * 3 + 3]} for i in range(60)]
    prompt, script = plays(Script([delta for delta in deltas if delta["content"]]))
    chunks = list(chat(openai_client, prompt, n=2))
    assert [text_of(chunks, index) for index in (0, 1)] == [CLEAN, CLEAN]
    assert (ends_of(chunks, 0), ends_of(chunks, 1)) == (["stop"], ["content_filter"])
    assert not script.was_cut


@pytest.mark.parametrize("names", [("reasoning_content",), ("reasoning",), ("reasoning_content", "reasoning")])
def test_reasoning_is_read_under_each_of_its_names(openai_client: openai.OpenAI, plays: Plays, names: Any) -> None:
    """Harmless reasoning leaves under its own names; risky reasoning ends the answer."""
    for said, answer, end in (("Let me think.", CLEAN, "stop"), (f"Let me think.{BAD}", "", "content_filter")):
        prompt, _ = plays(Script([dict.fromkeys(names, said), {"content": CLEAN}]))
        chunks = list(chat(openai_client, prompt))
        assert [text_of(chunks, field=name) for name in names] == ["Let me think."] * len(names)
        assert (text_of(chunks), ends_of(chunks)) == (answer, [end])


@pytest.mark.parametrize("size", [1, 5, 60])
def test_a_harmless_call_leaves_whole(openai_client: openai.OpenAI, plays: Plays, size: int) -> None:
    """Its fragments arrive after the text, in order."""
    prompt, _ = plays(Script(call_deltas("search", '{"q": "bread"}', size=size, text=CLEAN), "tool_calls"))
    chunks = list(chat(openai_client, prompt))
    calls = [call for chunk in chunks for c in chunk.choices for call in c.delta.tool_calls or ()]
    assert (calls[0].id, calls[0].function.name) == ("call0", "search")
    assert "".join(call.function.arguments or "" for call in calls) == '{"q": "bread"}'
    assert (text_of(chunks), ends_of(chunks)) == (CLEAN, ["tool_calls"])


@pytest.mark.parametrize("arguments", [RISKY, json.dumps({"q": BAD})], ids=["plain", "behind-escapes"])
def test_no_fragment_of_a_risky_call_leaves(openai_client: openai.OpenAI, plays: Plays, arguments: str) -> None:
    """The text before it does; the upstream is closed although the arguments go on."""
    deltas = call_deltas("search", arguments, size=5, text=CLEAN)
    prompt, script = plays(Script(deltas, "tool_calls", is_endless=True, pause_s=0.005))
    chunks = list(chat(openai_client, prompt))
    assert not [chunk for chunk in chunks for c in chunk.choices if c.delta.tool_calls]
    assert (text_of(chunks), ends_of(chunks)) == (CLEAN, ["content_filter"])
    assert script.ended.wait(5)


def test_a_call_in_the_old_form_is_read_too(openai_client: openai.OpenAI, plays: Plays) -> None:
    """`function_call` leaves whole or not at all."""
    for arguments, end in (('{"q": "bread"}', "function_call"), (RISKY, "content_filter")):
        prompt, _ = plays(Script([{"function_call": {"name": "search", "arguments": arguments}}], "function_call"))
        chunks = list(chat(openai_client, prompt))
        calls = [c.delta.function_call for chunk in chunks for c in chunk.choices if c.delta.function_call]
        assert [call.arguments for call in calls] == ([arguments] if end == "function_call" else [])
        assert ends_of(chunks) == [end]


def test_a_whole_answer_with_a_risky_call_loses_it(openai_client: openai.OpenAI, plays: Plays) -> None:
    """And keeps a harmless one as it was."""
    for arguments, end in (('{"q": "bread"}', "tool_calls"), (RISKY, "content_filter")):
        prompt, _ = plays(Script(call_deltas("search", arguments, size=5, text=CLEAN), "tool_calls"))
        asked: Any = [{"role": "user", "content": prompt}]
        choice = openai_client.chat.completions.create(model="m", messages=asked).choices[0]
        calls: list[Any] = choice.message.tool_calls or []
        assert [call.function.arguments for call in calls] == ([arguments] if end == "tool_calls" else [])
        assert (choice.message.content, choice.finish_reason) == (CLEAN, end)


def test_a_poisoned_tool_result_is_replaced_before_the_llm_sees_it(openai_client: openai.OpenAI, plays: Plays) -> None:
    """The rest of the request goes on as it was."""
    prompt, script = plays(Script.of(CLEAN))
    call: Any = {"id": "c", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    messages: Any = [
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": f"Found: {BAD}"},
    ]
    answer = openai_client.chat.completions.create(model="m", messages=messages)
    assert answer.choices[0].message.content == CLEAN
    sent = script.requests[0]["messages"]
    assert sent[:2] == messages[:2]
    assert "FORBIDDEN" not in sent[2]["content"]


def test_the_responses_client_is_served(openai_client: openai.OpenAI, plays: Plays) -> None:
    """Streamed and whole, harmless and risky; calls too."""
    prompt, _ = plays(Script.of(CLEAN, size=3))
    events = list(openai_client.responses.create(model="m", input=prompt, stream=True))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == CLEAN
    assert events[-1].type == "response.completed"
    prompt, _ = plays(Script.of(CLEAN + BAD, size=3))
    events = list(openai_client.responses.create(model="m", input=prompt, stream=True))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == CLEAN
    assert events[-1].type == "response.incomplete"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    whole = openai_client.responses.create(model="m", input=prompt)
    assert (whole.output_text, whole.status) == (CLEAN, "incomplete")
    prompt, _ = plays(Script(call_deltas("search", RISKY, size=5), "tool_calls"))
    events = list(openai_client.responses.create(model="m", input=prompt, stream=True))
    assert "FORBIDDEN" not in "".join(event.model_dump_json() for event in events)
    assert events[-1].type == "response.incomplete"


def test_how_long_text_is_held_is_measured(openai_client: openai.OpenAI, proxy: Serving, plays: Plays) -> None:
    """Each piece of text that left is counted once."""
    prompt, _ = plays(Script.of(CLEAN, size=10))
    list(chat(openai_client, prompt))
    assert "guardrail_hold_seconds_count 4.0" in httpx.get(f"{proxy.url}/metrics").text

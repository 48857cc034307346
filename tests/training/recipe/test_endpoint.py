# long: everything that one server can do, over one way to ask it
"""Asking OpenAI-compatible servers over real HTTP: all forms, all that goes wrong, and what is never repeated."""

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from guardrail.conversation import Message, Role, ToolCall
from guardrail.errors import CallRefused, ConfigurationError, EngineError, EngineTimeout
from guardrail.generative.endpoint import prompt_text
from guardrail.generative.turns import context_turns, prompt_turns, response_turn
from guardrail.training.recipe.asking import open_asking
from guardrail.training.recipe.budget import Budget, most_tokens
from guardrail.training.recipe.cache import CallCache
from guardrail.training.recipe.calls import Call, Reply
from guardrail.training.recipe.endpoint import Endpoint
from guardrail.training.recipe.settings import ModelSettings
from tests.generative.gen_server import Play, ScriptedServer, Server, hang, replying

HI = (Message(Role.USER, "Hi"),)
CHAT = Call("m", messages=HI, max_tokens=9)
KEY = bytes(32)


def chatting(*texts: str, **values: Any) -> Play:
    """A play of a chat with these samples."""
    choices = [
        {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}} | values
        for i, text in enumerate(texts)
    ]
    return replying({"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 5 * len(texts)}})


def saying(message: dict[str, Any], finish_reason: str = "stop") -> Play:
    """A play of one message."""
    return replying({"choices": [{"index": 0, "finish_reason": finish_reason, "message": message}]})


def failing(status: int, headers: dict[str, str], body: object = b"{}") -> Play:
    """A play of a status with headers."""

    def play(request: BaseHTTPRequestHandler, _body: object) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(data)

    return play


def breaking(request: BaseHTTPRequestHandler, _body: object) -> None:
    """Break off in the middle of an answer."""
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b'{"choices": [')
    request.close_connection = True


async def paceless() -> None:
    """Wait for nothing."""


async def ask(servers: list[Server], *calls: Call, **values: Any) -> list[Reply]:
    """Ask servers, one call after the other."""
    values = {"timeout_s": 10, "retries": 3} | values
    settings = ModelSettings("endpoint", "qwen", base_urls=tuple(server.url for server in servers), **values)
    endpoint = Endpoint("m", settings, {"MY_KEY": "secret-key"}, paceless, pause_s=0.01)
    try:
        return [await endpoint.ask(call, KEY) for call in calls]
    finally:
        await endpoint.close()


async def ask_one(play: Play, call: Call = CHAT, **values: Any) -> Reply:
    """Ask one server one question."""
    with ScriptedServer(play) as server:
        return (await ask([server], call, **values))[0]


async def test_a_chat_is_sent_and_read() -> None:
    """With everything that the call says and nothing else; samples, tokens and what was cut come back."""
    talk = (Message(Role.SYSTEM, "Be brief."), *HI)
    call = Call("m", messages=talk, n=2, max_tokens=9, temperature=0.7, top_p=0.9, stop=("\n\n",), schema={"a": 1})
    with ScriptedServer(chatting("Hello", "Ho", finish_reason="length")) as server:
        (reply,) = await ask([server], call)
    path, body = server.asked[0]
    assert path == "/v1/chat/completions"
    assert body.pop("seed") < 2**31
    assert body == {
        "model": "qwen", "max_tokens": 9, "temperature": 0.7, "top_p": 0.9, "n": 2, "stop": ["\n\n"],
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"a": 1}}},
    }  # fmt: skip
    assert [(one.text, one.thinking, one.is_cut) for one in reply.texts] == [("Hello", None, True), ("Ho", None, True)]
    assert (reply.n_input, reply.n_output) == (7, 10)


async def test_what_a_server_needs_besides_is_said_in_every_request() -> None:
    """Such as whether a model of two modes thinks, in chats and in plain completions."""
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "top_k": 20}
    with ScriptedServer(chatting("Hello")) as server:
        await ask([server], CHAT, extra_body=extra)
    assert {key: server.asked[0][1][key] for key in extra} == extra
    assert set(server.asked[0][1]) == {"model", "max_tokens", "temperature", "messages", *extra}


async def test_a_greedy_call_says_no_more_than_it_must() -> None:
    """Servers refuse what they do not know: no seed, no number of samples; n of them are the same text."""
    with ScriptedServer(chatting("Hello")) as server:
        (reply,) = await ask([server], replace(CHAT, n=3))
    assert set(server.asked[0][1]) == {"model", "max_tokens", "temperature", "messages"}
    assert [one.text for one in reply.texts] == ["Hello"] * 3
    assert (len(server.asked), reply.n_output) == (1, 5)


async def test_a_completion_is_sent_and_read() -> None:
    """The text as it is; what stops it is cut off where a server shows it."""
    call = Call("m", "completion", prompt="Once <|im_end|>", max_tokens=9, stop=("END",))
    play = replying({"choices": [{"text": " upon ENDless", "finish_reason": "length"}]})
    with ScriptedServer(play) as server:
        (reply,) = await ask([server], call)
    assert server.asked[0][0] == "/v1/completions"
    assert server.asked[0][1]["prompt"] == "Once <|im_end|>"
    assert (reply.text, reply.texts[0].is_cut) == (" upon ", False)
    assert (reply.n_input, reply.n_output) == (0, 0)


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        (HI, prompt_text(prompt_turns(HI))),
        (
            (*HI, Message(Role.ASSISTANT, "Ho <|im_end|>", "hm")),
            prompt_text([*context_turns(HI), response_turn("hm", "Ho <|im_end|>")]),
        ),
    ],
)
async def test_a_guard_is_sent_its_own_prompt(messages: tuple[Message, ...], prompt: str) -> None:
    """Byte for byte that of the published template, and its end is no part of the answer."""
    play = replying({"choices": [{"text": "Safety: Safe\nCategories: None<|im_end|>"}]})
    with ScriptedServer(play) as server:
        (reply,) = await ask([server], Call("m", "guard", messages))
    assert server.asked[0] == ("/v1/completions", server.asked[0][1] | {"prompt": prompt})
    assert reply.text == "Safety: Safe\nCategories: None"


async def test_tool_calls_and_results_are_paired() -> None:
    """Servers refuse a result that belongs to no call."""
    calls = (ToolCall("f", "{}"), ToolCall("g", "{}"))
    results = (Message(Role.TOOL, "1"), Message(Role.TOOL, "2"))
    talk = (*HI, Message(Role.ASSISTANT, "", tool_calls=calls), *results, Message(Role.USER, "And?"))
    with ScriptedServer(chatting("x")) as server:
        await ask([server], Call("m", messages=talk))
    sent = server.asked[0][1]["messages"]
    assert [call["id"] for call in sent[1]["tool_calls"]] == [one["tool_call_id"] for one in sent[2:4]]


async def test_a_turn_of_the_assistant_is_gone_on_with() -> None:
    """In the way of vLLM and SGLang."""
    with ScriptedServer(chatting("x")) as server:
        await ask([server], Call("m", messages=(*HI, Message(Role.ASSISTANT, "Ho"))))
    assert server.asked[0][1]["continue_final_message"] is True
    assert server.asked[0][1]["add_generation_prompt"] is False


@pytest.mark.parametrize(
    ("message", "thinking", "text"),
    [
        ({"content": "Yes", "reasoning_content": "Hm"}, "Hm", "Yes"),
        ({"content": "Yes", "reasoning": "Hm"}, "Hm", "Yes"),
        ({"content": "<think>\nHm\n</think>\n\nYes"}, "Hm", "Yes"),
        ({"content": "\n<think>\n\n</think>\n\nYes"}, None, "Yes"),
        ({"content": "Hm\n</think>\n\nYes"}, "Hm", "Yes"),
        ({"content": "<think>Hm, and"}, "Hm, and", ""),
        ({"content": "Use <think> tags"}, None, "Use <think> tags"),
        ({"content": "A <think>b</think> c"}, None, "A <think>b</think> c"),
        ({"content": None, "reasoning_content": "Hm"}, "Hm", ""),
        ({"content": None, "refusal": "I will not"}, None, "I will not"),
        ({"content": "lone \ud800", "reasoning": "\udfff"}, "\ufffd", "lone \ufffd"),
    ],
)
async def test_thinking_is_kept_apart(message: dict[str, Any], thinking: str | None, text: str) -> None:
    """In all the ways in which servers give it."""
    (sample,) = (await ask_one(saying(message))).texts
    assert (sample.thinking, sample.text) == (thinking, text)


async def test_a_text_that_cannot_be_encoded_is_sent_all_the_same() -> None:
    """Lone surrogates come in scraped text."""
    with ScriptedServer(chatting("x")) as server:
        await ask([server], replace(CHAT, messages=(Message(Role.USER, "a\ud800b"),)))
    assert server.asked[0][1]["messages"][0]["content"] == "a\ufffdb"


async def ask_whole(server: Server, folder: Path, *calls: Call, budget: Budget | None = None) -> list[Reply]:
    """Ask a server as stages do: for all samples, behind the cache in a folder."""
    settings = ModelSettings("endpoint", "qwen", base_urls=(server.url,), retries=0)
    with CallCache(folder / "calls.sqlite") as cache:
        async with open_asking({"m": settings}, cache, budget or Budget(), folder) as asking:
            return [await asking(call) for call in calls]


async def test_missing_samples_are_asked_for(tmp_path: Path) -> None:
    """Of a server that gives one, then two, then more than it should: with another seed each time."""
    call = replace(CHAT, n=4, temperature=1.0)
    with ScriptedServer(chatting("a"), chatting("b", "c"), chatting("d", "e")) as server:
        (reply,) = await ask_whole(server, tmp_path, call)
    assert [one.text for one in reply.texts] == ["a", "b", "c", "d"]
    assert [body.get("n") for _, body in server.asked] == [4, 3, None]
    assert len({body["seed"] for _, body in server.asked}) == 3
    assert (reply.n_input, reply.n_output) == (21, 25)


def one_each(n_until_down: int) -> list[Play]:
    """Plays of a server that gives one sample a request, whatever it is asked for, until it is down."""
    return [*(chatting(f"sample {i}") for i in range(n_until_down)), replying({}, 401)]


@pytest.mark.parametrize("first", [0, 1, 5, 7])
async def test_samples_that_came_are_kept_when_the_others_fail(tmp_path: Path, first: int) -> None:
    """Of a server that gives one a request: the next start asks for those that are missing, as if nothing had been."""
    call = replace(CHAT, n=8, temperature=1.0)
    with ScriptedServer(*one_each(8)) as server:
        (whole,) = await ask_whole(server, tmp_path / "whole", call)
    bodies = [body for _, body in server.asked]
    spent = Budget()
    with ScriptedServer(*one_each(first)) as server, pytest.raises(EngineError, match="401"):
        await ask_whole(server, tmp_path / "cut", call, budget=spent)
    assert [body for _, body in server.asked] == bodies[: first + 1]
    assert (spent.n_calls, spent.n_tokens) == (1, 12 * first)  # they are paid for, though the call failed
    rest = Budget()
    with ScriptedServer(*(chatting(f"sample {i}") for i in range(first, 8))) as server:
        (reply,) = await ask_whole(server, tmp_path / "cut", call, budget=rest)
    assert [body for _, body in server.asked] == bodies[first:]
    assert rest.n_tokens == 12 * (8 - first)
    assert reply == whole


async def test_tokens_of_a_call_that_failed_are_in_its_tally(tmp_path: Path) -> None:
    """And, with the samples that were kept, set less aside at the next start."""
    call = replace(CHAT, n=8, temperature=1.0)
    with ScriptedServer(*one_each(6), *one_each(9)) as server, CallCache(tmp_path / "c") as cache:
        settings = ModelSettings("endpoint", "qwen", base_urls=(server.url,), output_price=10)
        async with open_asking({"m": settings}, cache, Budget(), tmp_path) as asking:
            with pytest.raises(EngineError):
                await asking(call)
        tally = asking.tallies["m"]
        assert (tally.asked, tally.failed, tally.n_input, tally.n_output) == (1, 1, 6 * 7, 6 * 5)
        assert tally.cost == pytest.approx(6 * 5 * 10 / 1e6)
        budget = Budget(max_tokens=most_tokens(replace(call, n=2)))
        async with open_asking({"m": settings}, cache, budget, tmp_path) as asking:
            assert len((await asking(call)).texts) == 8
        assert (asking.tallies["m"].asked, asking.tallies["m"].n_output) == (1, 2 * 5)


async def test_a_server_that_refuses_several_samples_is_asked_for_one(tmp_path: Path) -> None:
    """And from then on for one at once."""
    call = replace(CHAT, n=2, temperature=1.0)
    with ScriptedServer(replying({}, 422), *(chatting(text) for text in "abcd")) as server:
        replies = await ask_whole(server, tmp_path, call, replace(call, sample=1))
    assert [[one.text for one in reply.texts] for reply in replies] == [["a", "b"], ["c", "d"]]
    assert [body.get("n") for _, body in server.asked] == [2, None, None, None, None]


async def test_samples_come_in_the_order_of_their_index() -> None:
    """However the server lists them."""
    choices = [{"index": i, "message": {"content": str(i)}} for i in (2, 0, 1)]
    reply = await ask_one(replying({"choices": choices}), replace(CHAT, n=3, temperature=1.0))
    assert [one.text for one in reply.texts] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "bad",
    [
        replying({}, 500), replying({}, 502), replying({}, 408), failing(429, {"Retry-After": "0"}), breaking,
        failing(503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), failing(429, {"Retry-After": "soon"}),
        replying({"choices": []}), replying({"choices": [{}]}), replying({"choices": 3}), replying([]),
        replying({"error": {"message": "busy"}}), replying(b"<html>no</html>"), replying(b"{not json"), replying(b""),
        failing(200, {"Content-Type": "application/json"}, b"{not json"), saying({"content": ["x"]}),
        failing(200, {"Content-Type": "application/json"}, b"\xff\xfe"), saying({"content": "x", "reasoning": 3}),
    ],
)  # fmt: skip
async def test_what_may_pass_is_tried_again(bad: Play) -> None:
    """Failures and answers that are none: twice, then the answer."""
    with ScriptedServer(bad, bad, chatting("Hello")) as server:
        assert (await ask([server], CHAT))[0].text == "Hello"
        assert len(server.asked) == 3


async def test_it_is_tried_as_often_as_the_settings_say() -> None:
    """Then it is a failure, with the status and without what the server says, which may be what it was sent."""
    with ScriptedServer(replying({"error": {"message": "Hi there", "code": "boom"}}, 500)) as server:
        with pytest.raises(EngineError, match=r"^model 'm': the server answered 500, boom$") as raised:
            await ask([server], CHAT, retries=2)
        assert len(server.asked) == 3
    assert raised.value.__cause__ is None
    assert not isinstance(raised.value, CallRefused)


async def test_a_server_that_asks_for_time_gets_it() -> None:
    """The pause that it names, not ours."""
    loop = asyncio.get_running_loop()
    moments: list[float] = []

    def busy(request: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        moments.append(loop.time())
        failing(429, {"Retry-After": "0.4"})(request, body)

    def free(request: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        moments.append(loop.time())
        chatting("x")(request, body)

    with ScriptedServer(busy, free) as server:
        await ask([server], CHAT)
    assert moments[1] - moments[0] >= 0.4


async def test_a_server_that_hangs_is_given_up() -> None:
    """After its time, every time."""
    with ScriptedServer(hang) as server:
        with pytest.raises(EngineTimeout, match=r"model 'm' did not answer within 0.2 s"):
            await ask([server], CHAT, timeout_s=0.2, retries=1)
        assert len(server.asked) == 2


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_call_that_is_refused_is_not_repeated(status: int) -> None:
    """It would be refused again; the row is left out."""
    with ScriptedServer(replying({"error": {"message": "Hi is bad", "type": "too_long"}}, status)) as server:
        with pytest.raises(CallRefused, match=rf"^model 'm': the server answered {status}, too_long$") as raised:
            await ask([server], CHAT)
        assert len(server.asked) == 1
    assert vars(raised.value)["status"] == status


async def test_what_a_filter_held_back_is_refused() -> None:
    """Whatever text stands beside it."""
    with pytest.raises(CallRefused, match="filter"):
        await ask_one(saying({"content": "x"}, "content_filter"))


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "api_key_env"), (403, "api_key_env"), (404, "base_urls"), (405, "405")]
)
async def test_wrong_settings_end_the_stage_at_once(status: int, hint: str) -> None:
    """They say what to look at, and no row is left out for them."""
    with ScriptedServer(replying({}, status)) as server:
        with pytest.raises(EngineError, match=hint) as raised:
            await ask([server], CHAT)
        assert len(server.asked) == 1
    assert not isinstance(raised.value, CallRefused)


@pytest.fixture
def dead_url() -> str:
    """Of a server that is down."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


async def test_a_server_that_is_down_is_named(dead_url: str) -> None:
    """With its address, and without a password that stands in it."""
    settings = ModelSettings("endpoint", "qwen", base_urls=(dead_url.replace("//", "//me:secret@"),), retries=1)
    endpoint = Endpoint("m", settings, {}, paceless, pause_s=0.01)
    with pytest.raises(EngineError, match=r"cannot be reached.*is the server at 127\.0\.0\.1:\d+ up") as raised:
        await endpoint.ask(CHAT, KEY)
    await endpoint.close()
    assert "secret" not in str(raised.value)
    assert raised.value.retryable


async def test_the_other_replica_is_asked_when_one_is_down(dead_url: str) -> None:
    """All calls are answered, the dead one or not the first choice of each."""
    with ScriptedServer(chatting("x")) as server:
        settings = ModelSettings("endpoint", "qwen", base_urls=(dead_url, server.url), retries=1)
        endpoint = Endpoint("m", settings, {}, paceless, pause_s=0.01)
        calls = [replace(CHAT, messages=(Message(Role.USER, str(i)),)) for i in range(20)]
        replies = await asyncio.gather(*(endpoint.ask(call, KEY) for call in calls))
        await endpoint.close()
        assert [reply.text for reply in replies] == ["x"] * 20
        assert len(server.asked) == 20


@pytest.fixture
def pair() -> Iterator[list[ScriptedServer]]:
    """Two replicas."""
    with ScriptedServer(chatting("x")) as one, ScriptedServer(chatting("x")) as other:
        yield [one, other]


async def test_calls_that_begin_alike_go_to_one_replica(pair: list[ScriptedServer]) -> None:
    """It has read the beginning; other beginnings are spread."""
    calls = [
        replace(CHAT, messages=(Message(Role.USER, f"question {i}"), Message(Role.ASSISTANT, "so " * j)))
        for i in range(20)
        for j in range(2)
    ]
    await ask([*pair], *calls)
    asked = [[body["messages"][0]["content"] for _, body in server.asked] for server in pair]
    assert not set(asked[0]) & set(asked[1])
    assert min(map(len, asked)) >= 2 * 4
    assert sum(map(len, asked)) == 40


async def test_a_common_beginning_does_not_leave_a_replica_idle(pair: list[ScriptedServer]) -> None:
    """When one has more than its share under way, the next takes over."""
    settings = ModelSettings("endpoint", "qwen", base_urls=tuple(server.url for server in pair))
    endpoint = Endpoint("m", settings, {}, paceless)
    calls = [Call("m", "completion", prompt="the same long example " * 100 + str(i)) for i in range(20)]
    for server in pair:
        server._plays = (replying({"choices": [{"text": "x"}]}),)
    await asyncio.gather(*(endpoint.ask(call, KEY) for call in calls))
    await endpoint.close()
    assert min(len(server.asked) for server in pair) >= 7


@pytest.mark.parametrize(("name", "sent"), [("MY_KEY", "Bearer secret-key"), ("", None)])
async def test_only_the_key_of_the_recipe_is_sent(monkeypatch: pytest.MonkeyPatch, name: str, sent: str | None) -> None:
    """Never the one for OpenAI that the environment may hold, to a server that is not OpenAI's."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    with ScriptedServer(chatting("x")) as server:
        await ask([server], CHAT, api_key_env=name)
    assert server.keys == [sent]


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({}, "needs base_urls"),
        ({"base_urls": ("localhost:8000",)}, r"^no. 1 of base_urls of model 'm' is no http\(s\) URL"),
        ({"base_urls": ("http://x/v1", "notaurl")}, r"^no. 2 of base_urls of model 'm' is no http\(s\) URL"),
        ({"base_urls": ("http://",)}, r"is no http\(s\) URL"),
        ({"base_urls": ("http://[x/v1",)}, r"is no http\(s\) URL"),
        ({"base_urls": ("http://x/v1",), "api_key_env": "GONE"}, "set the environment variable GONE"),
        ({"base_urls": ("http://x/v1",), "extra_body": {"n": 2, "seed": 1}}, "extra_body of model 'm' says n, seed"),
    ],
)
def test_settings_without_a_server_or_key_are_refused(values: dict[str, Any], match: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match=match):
        Endpoint("m", ModelSettings("endpoint", "qwen", **values), {}, paceless)


async def test_schemas_are_no_part_of_a_question_that_does_not_send_them(tmp_path: Path) -> None:
    """A server that is sent none is asked once, whatever the schema, and again once it is sent them."""
    with ScriptedServer(chatting("{}")) as server, CallCache(tmp_path / "c") as cache:
        for has_schemas, n_asked in ((False, 1), (True, 3)):
            settings = ModelSettings("endpoint", "qwen", base_urls=(server.url,), has_schemas=has_schemas)
            async with open_asking({"m": settings}, cache, Budget(), tmp_path) as asking:
                for schema in ({"a": 1}, {"a": 2}):
                    await asking(replace(CHAT, schema=schema))
            assert len(server.asked) == n_asked


async def test_tokens_are_counted_and_priced(tmp_path: Path) -> None:
    """By the server's numbers and the recipe's prices; what was cached costs nothing."""
    with ScriptedServer(chatting("x")) as server, CallCache(tmp_path / "c") as cache:
        settings = ModelSettings("endpoint", "qwen", base_urls=(server.url,), input_price=2, output_price=10)
        budget = Budget()
        async with open_asking({"m": settings}, cache, budget, tmp_path) as asking:
            for i in (1, 2, 2):
                await asking(replace(CHAT, sample=i))
    tally = asking.tallies["m"]
    assert (tally.asked, tally.cached, tally.n_input, tally.n_output) == (2, 1, 14, 10)
    assert tally.cost == pytest.approx((14 * 2 + 10 * 10) / 1e6)
    assert tally.seconds > 0
    assert (budget.n_calls, budget.n_tokens) == (2, 24)


async def test_further_requests_keep_to_the_pace() -> None:
    """Retries, and what asks for one sample when several were refused; the first request has waited already."""
    paced = []

    async def pace() -> None:
        paced.append(1)

    with ScriptedServer(replying({}, 500), replying({}, 422), chatting("a")) as server:
        settings = ModelSettings("endpoint", "qwen", base_urls=(server.url,))
        endpoint = Endpoint("m", settings, {}, pace, pause_s=0.01)
        await endpoint.ask(replace(CHAT, n=2, temperature=1.0), KEY)
        await endpoint.close()
        assert len(server.asked) == 3
    assert len(paced) == 2


async def test_each_request_for_missing_samples_keeps_to_the_pace(tmp_path: Path) -> None:
    """A call of three requests waits three times."""
    paced = []

    async def pace() -> None:
        paced.append(1)

    with ScriptedServer(*(chatting(text) for text in "abc")) as server, CallCache(tmp_path / "c") as cache:
        settings = ModelSettings("endpoint", "qwen", base_urls=(server.url,))
        async with open_asking({"m": settings}, cache, Budget(), tmp_path) as asking:
            asking._lanes["m"]._pace = pace
            await asking(replace(CHAT, n=3, temperature=1.0))
    assert len(paced) == 3

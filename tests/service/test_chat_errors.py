"""What the proxy does when something fails: nothing unread leaves, and the client is told in OpenAI's envelope."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from guardrail import Action, Direction, EngineError, EngineOverloaded, Guard, Policy
from guardrail.service import Settings
from guardrail.service.sections import KeySettings, ServerSettings, UpstreamSettings
from guardrail.testing import FailingEngine, default_tokenizer, raising
from tests.service.proxying import FORMS, JSON, NEVER_S, Plays, frames_of, post, proxying
from tests.service.servers import Serving, failing_guard, marker_guard, serving
from tests.wire.texts import BAD, CLEAN, dig, shown
from tests.wire.upstream import Script, Upstream


def envelope(**error: Any) -> bytes:
    """Return an error as a server answers with it."""
    return json.dumps({"error": {"message": "no luck", "type": "t", "param": None, "code": "c", **error}}).encode()


def chunk(text: str, **fields: Any) -> bytes:
    """Return a frame with a piece of a chat."""
    held = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return f"data: {json.dumps({**held, 'choices': [choice], **fields})}\n\n".encode()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_an_error_of_the_upstream_passes_with_its_status(
    proxy: Serving, plays: Plays, status: int, stream: bool
) -> None:
    """Its envelope, and the header that says when to come back; nothing that stands besides."""
    script = Script(
        raw=(envelope(failed_generation=BAD),), kind="application/json", status=status,
        headers={"retry-after": "7", "x-debug": BAD.encode("ascii", "ignore").decode().strip()},
    )  # fmt: skip
    got = post(proxy, "chat/completions", plays(script)[0], stream=stream)
    assert (got.status_code, got.headers["retry-after"]) == (status, "7")
    assert got.json() == {"error": {"message": "no luck", "type": "t", "param": None, "code": "c"}}
    assert "FORBIDDEN" not in repr(got.headers)


def test_an_error_that_quotes_the_llm_is_read_before_it_passes(proxy: Serving, plays: Plays) -> None:
    """Servers put what a model wrote into messages of failed calls."""
    script = Script(raw=(envelope(message=f"cannot parse: {BAD}"),), kind="application/json", status=500)
    error = post(proxy, "chat/completions", plays(script)[0]).json()["error"]
    assert (error["message"], error["code"]) == ("the upstream failed; its message was withheld", "c")


@pytest.mark.parametrize(
    "raw", [b"", b"<html>no</html>", b"[1]", b'{"error": "plain"}', b'{"detail": [{"msg": "odd"}]}'], ids=str
)
def test_an_error_without_an_envelope_gets_one(proxy: Serving, plays: Plays, raw: bytes) -> None:
    """Clients always find the same form."""
    got = post(proxy, "chat/completions", plays(Script(raw=(raw or b" ",), kind="text/html", status=502))[0])
    error = got.json()["error"]
    assert (got.status_code, set(error)) == (502, {"message", "type", "param", "code"})
    assert error["message"] in ("plain", "the upstream gave no reason")


def test_an_upstream_that_is_not_there_is_502() -> None:
    """And says which kind of failure it was."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with proxying(url) as proxy:
        got = post(proxy, "chat/completions", "hi")
    assert (got.status_code, got.json()["error"]["code"]) == (502, "upstream_unreachable")


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_says_nothing_is_504(upstream: Upstream, plays: Plays, stream: bool) -> None:
    """Before its head; a stream that has begun ends with an error frame, and what was held stays back."""
    prompt, _ = plays(Script.of("Bread.☠", size=1, hangs=True))
    with proxying(upstream.url, timeout_s=0.3) as proxy:
        got = post(proxy, "chat/completions", prompt, stream=stream)
    if stream:
        *frames, last = frames_of(got.text)
        assert "☠" not in "".join(dig(frames))
        assert last["error"]["code"] == "upstream_timeout"
    else:
        assert (got.status_code, got.json()["error"]["code"]) == (504, "upstream_timeout")


def test_a_broken_connection_is_an_error_frame(proxy: Serving, plays: Plays) -> None:
    """A marker that waits for its verdict is dropped with it; there is no [DONE]."""
    prompt, _ = plays(Script.of("Bread.☠", size=1, dies=True))
    *frames, last = frames_of(post(proxy, "chat/completions", prompt, stream=True).text)
    assert last["error"]["code"] == "upstream_unreachable"
    assert "☠" not in "".join(dig(frames))


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(b"data: {nonsense FORBIDDEN\n\n", id="no-json"),
        pytest.param(b'data: ["FORBIDDEN"]\n\n', id="no-object"),
        pytest.param(b'data: {"text": "FORBIDDEN"}\n\n', id="no-format"),
        pytest.param(b'data: {"id": {"x": "FORBIDDEN"}, "choices": []}\n\n', id="odd-id"),
        pytest.param(b'data: {"choices": ["FORBIDDEN"]}\n\n', id="odd-choice"),
        pytest.param(b'data: {"choices": [{"index": "FORBIDDEN", "delta": {}}]}\n\n', id="odd-index"),
        pytest.param(b'data: {"choices": [{"index": 0, "delta": {"content": ["FORBIDDEN"]}}]}\n\n', id="odd-text"),
        pytest.param(
            b'data: {"choices": [{"index": 0, "delta": {"tool_calls": [{"x": "FORBIDDEN"}]}}]}\n\n', id="call"
        ),
        pytest.param(chunk("").replace(b"null", json.dumps("FORBIDDEN" * 99).encode()), id="long-reason"),
        pytest.param(b'data: {"choices": [{"index": 0, "delta": {"content": "FORBIDDEN', id="unended"),
        pytest.param(b"data: " + b"[" * 100_000 + b"\n\n", id="too-deep"),
        pytest.param(b"\xff\xfe\n\n" + b"data: \xff\n\n", id="no-utf8"),
    ],
)
@pytest.mark.parametrize("before", [b"", chunk(CLEAN)], ids=["first", "later"])
def test_a_piece_that_cannot_be_read_ends_the_stream(proxy: Serving, plays: Plays, piece: bytes, before: bytes) -> None:
    """With an error frame that names nothing of it; the upstream is closed."""
    prompt, script = plays(Script(raw=tuple(filter(None, (before, piece))), hangs=b"\n\n" in piece))
    got = post(proxy, "chat/completions", prompt, stream=True)
    assert frames_of(got.text)[-1]["error"]["code"] == "upstream_unreadable"
    assert "FORBIDDEN" not in got.text
    assert script.ended.wait(5)


@pytest.mark.parametrize(
    "raw",
    [
        b"{nonsense",
        b"[1]",
        b"{}",
        b'{"choices": [{"message": 5}]}',
        b'{"choices": [7]}',
        b'{"output": [{"type": "x"}]}',
        b'{"choices": [{"text": 5}]}',
        b'{"output": [{"type": "message", "content": [{"type": "output_text", "text": 5}]}]}',
    ],
    ids=str,
)
def test_a_whole_answer_that_cannot_be_read_is_502(proxy: Serving, plays: Plays, raw: bytes) -> None:
    """Nothing of it is passed on."""
    got = post(proxy, "chat/completions", plays(Script(raw=(raw,), kind="application/json"))[0])
    assert (got.status_code, got.json()["error"]["code"]) == (502, "upstream_unreadable")


def test_a_whole_answer_that_is_too_large_is_502(upstream: Upstream, plays: Plays) -> None:
    """It is not read to its end."""
    prompt, script = plays(Script(raw=(b" " * 2000,), kind="application/json", hangs=True))
    with proxying(upstream.url, max_response_bytes=1000) as proxy:
        got = post(proxy, "chat/completions", prompt)
    assert (got.status_code, got.json()["error"]["code"]) == (502, "upstream_unreadable")
    assert script.ended.wait(5)


def test_a_redirect_is_not_followed(proxy: Serving, plays: Plays) -> None:
    """Our key goes nowhere else."""
    script = Script(raw=(b" ",), status=307, headers={"location": "/v1/completions"})
    got = post(proxy, "chat/completions", plays(script)[0])
    assert (got.status_code, len(script.requests)) == (502, 1)


@pytest.mark.parametrize(
    ("said", "told"), [("no luck", "no luck"), (BAD, "the upstream failed; its message was withheld")]
)
@pytest.mark.parametrize("form", FORMS)
def test_an_error_frame_of_the_upstream_passes_when_it_is_read(
    proxy: Serving, plays: Plays, form: str, said: str, told: str
) -> None:
    """As the last one, in the form in which the client's library looks for it."""
    prompt, script = plays(Script(raw=(b"data: " + envelope(message=said) + b"\n\n",), hangs=True))
    frames = frames_of(post(proxy, form, prompt, stream=True).text)
    assert frames[-1]["error"]["message"] == told
    assert (frames[-1].get("type") == "error") is (form == "responses")
    assert script.ended.wait(5)


def test_the_clients_library_raises_at_an_error_frame(openai_client: openai.OpenAI, plays: Plays) -> None:
    """It does not take a broken answer for a whole one."""
    prompt, _ = plays(Script(raw=(chunk(CLEAN), b"data: " + envelope() + b"\n\n")))
    asked: Any = [{"role": "user", "content": prompt}]
    with pytest.raises(openai.APIError, match="no luck"):
        list(openai_client.chat.completions.create(model="m", messages=asked, stream=True))


@pytest.mark.parametrize(("error", "status"), [(EngineError("down"), 500), (EngineOverloaded("full"), 503)])
def test_a_guard_that_fails_at_the_prompt_is_no_stop(
    upstream: Upstream, plays: Plays, error: EngineError, status: int
) -> None:
    """An error that says so; the upstream is not asked, and the record names the failure."""
    prompt, script = plays(Script.of(CLEAN))
    with proxying(upstream.url, guard=failing_guard(error)) as proxy:
        got = post(proxy, "chat/completions", prompt, stream=True)
    assert (got.status_code, got.json()["error"]["type"]) == (status, "server_error")
    assert "content_filter" not in got.text
    assert not script.requests
    assert proxy.sink.decisions[0].failure


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_a_guard_that_fails_later_is_no_stop(upstream: Upstream, plays: Plays, form: str, stream: bool) -> None:
    """The answer ends with an error, never as if its text had been found risky; what was not judged stays back."""
    prompt, script = plays(Script.of(CLEAN * 20, size=5, pause_s=0.001))
    whole = marker_guard()
    breaking = FailingEngine(
        whole.engine, at_step=6 if stream else 2, breakage=raising(EngineError("down"))
    )  # the prompt passes
    guard = Guard(breaking, default_tokenizer())
    with proxying(upstream.url, guard=guard) as proxy:
        got = post(proxy, form, prompt, stream=stream)
    assert "content_filter" not in got.text
    if stream:
        frames = frames_of(got.text)
        assert frames[-1]["error"]["code"] == "guard_failed"
        assert len(shown(form, [one for one in frames[:-1] if "error" not in one])) < len(CLEAN * 20)
        assert script.ended.wait(5)
    else:
        assert (got.status_code, got.json()["error"]["code"]) == (500, "guard_failed")


def test_a_policy_that_goes_on_at_a_failure_does(upstream: Upstream, plays: Plays) -> None:
    """It is recorded, and the answer passes."""
    prompt, _ = plays(Script.of(CLEAN))
    with proxying(upstream.url, guard=failing_guard(EngineError("down"), Policy(on_failure=Action.ALLOW))) as proxy:
        assert post(proxy, "chat/completions", prompt).json()["choices"][0]["message"]["content"] == CLEAN
    assert all(decision.failure for decision in proxy.sink.decisions)


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"NaN", b'{"messages": 5}', b'{"messages": [5]}', b'{"messages": [{"content": 5}]}',
        b'{"messages": [{"content": "x"}], "prompt": "y"}', b'{"a": NaN}', b'{"a": 1e999}', b"[" * 100_000,
    ],
    ids=lambda body: str(body[:40]),
)  # fmt: skip
def test_a_request_that_cannot_be_read_is_400(proxy: Serving, body: bytes) -> None:
    """It is not passed on."""
    got = httpx.post(f"{proxy.base_url}/chat/completions", content=body, headers=JSON)
    assert (got.status_code, got.json()["error"]["code"]) == (400, "invalid_request")


def test_without_an_upstream_the_proxy_says_so() -> None:
    """503: it may be set."""
    with serving() as running:
        got = post(running, "chat/completions", "hi")
    assert (got.status_code, got.json()["error"]["code"]) == (503, "no_upstream")


def test_a_stream_that_holds_its_text_gets_comments(upstream: Upstream, plays: Plays) -> None:
    """So that nothing between takes the connection for dead."""
    prompt, script = plays(Script.of("☠", hangs=True))
    with proxying(upstream.url, server=ServerSettings(keep_alive_s=0.05)) as proxy:
        url, asked = f"{proxy.base_url}/chat/completions", {"messages": [{"role": "user", "content": prompt}]}
        with httpx.stream("POST", url, json={**asked, "model": "m", "stream": True}, timeout=30) as answer:
            lines = answer.iter_lines()
            assert [next(line for line in lines if line.startswith(":")) for _ in range(2)] == [": keep-alive"] * 2
        assert script.ended.wait(5)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_closes_the_upstream(proxy: Serving, plays: Plays, stream: bool) -> None:
    """While it waits for a whole answer, and in the middle of a stream, which is recorded as abandoned, or as
    interrupted if the guard was just reading.
    """
    script = Script.of(CLEAN, hangs=True) if stream else Script(raw=(b" ",), kind="application/json", hangs=True)
    prompt, _ = plays(script)
    asked = {"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": stream}
    async with httpx.AsyncClient(timeout=NEVER_S) as client, asyncio.TaskGroup() as group:
        asking = group.create_task(client.post(f"{proxy.base_url}/chat/completions", json=asked))
        assert await asyncio.to_thread(_wait_for, lambda: script.requests and script.n_sent >= len(script.deltas))
        asking.cancel()
    assert await asyncio.to_thread(script.ended.wait, 5)
    assert script.was_cut
    if stream:
        assert await asyncio.to_thread(_wait_for, lambda: answers(proxy))
        assert answers(proxy) in (["abandoned"], ["failure"])


def answers(proxy: Serving) -> list[str]:
    """Return the reasons of the decisions on answers."""
    return [one.reason.value for one in proxy.sink.decisions if one.direction is Direction.RESPONSE]


def _wait_for(come: Callable[[], Any]) -> bool:
    """Return whether something came to be true within some seconds."""
    pause = threading.Event()
    return any(come() or pause.wait(0.02) for _ in range(250))


def test_a_key_of_ours_never_reaches_the_upstream() -> None:
    """Forwarding the client's key and keys of our own exclude each other."""
    behind = UpstreamSettings(base_url="http://localhost:1/v1", forward_authorization=True)
    with pytest.raises(ValueError, match="forward_authorization"):
        Settings(upstream=behind, keys=(KeySettings.model_validate({"name": "a", "key": "a" * 16}),))

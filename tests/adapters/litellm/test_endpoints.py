"""The other endpoints of a real proxy, each in the words of its own protocol; and answers that come as a whole."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.adapters.litellm.conftest import BAD_PROMPT, Proxy
from tests.wire.texts import BAD, CLEAN, call_deltas, dig, shown
from tests.wire.upstream import Script

pytestmark = pytest.mark.slow

Plays = Callable[..., tuple[str, Script]]

MESSAGE = "This content was stopped by a safety policy."


def ask(proxy: Proxy, endpoint: str, model: str, prompt: str, **options: Any) -> Any:
    """Send a prompt to an endpoint; a stream is returned as its frames."""
    said: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]}
    if endpoint == "responses":
        said = {"input": prompt}
    elif endpoint == "completions":
        said = {"prompt": prompt}
    elif endpoint == "messages":
        said["max_tokens"] = 99
    got = proxy.post(f"/v1/{endpoint}", model=model, **said, **options)
    if not options.get("stream") or got.status_code != 200:
        return got
    payloads = [line[6:] for line in got.text.split("\n") if line.startswith("data: ")]
    return [json.loads(payload) for payload in payloads if payload != "[DONE]"]


def end(endpoint: str, frames: list[Any]) -> Any:
    """Return how a stream ended."""
    if endpoint == "completions":
        return [c["finish_reason"] for frame in frames for c in frame["choices"] if c.get("finish_reason")]
    if endpoint == "responses":
        response = frames[-1]["response"]
        return [frames[-1]["type"], response["status"], (response.get("incomplete_details") or {}).get("reason")]
    return [frame["delta"]["stop_reason"] for frame in frames if frame["type"] == "message_delta"]


ENDPOINTS = [
    pytest.param("completions", "m", id="text"),
    pytest.param("responses", "m", id="responses"),
    pytest.param("responses", "claude", id="responses-over-chat"),
    pytest.param("messages", "claude", id="messages"),
    pytest.param("messages", "bridged", id="messages-over-chat"),
]
ENDS = {
    "completions": (["stop"], ["content_filter"]),
    "responses": (
        ["response.completed", "completed", None],
        ["response.incomplete", "incomplete", "content_filter"],
    ),
    "messages": (["end_turn"], ["refusal"]),
}


@pytest.mark.parametrize(("endpoint", "model"), ENDPOINTS)
def test_a_harmless_stream_leaves_whole(proxy: Proxy, plays: Plays, endpoint: str, model: str) -> None:
    """Every character and the LLM's own end arrive."""
    prompt, _ = plays(Script.of(CLEAN))
    frames = ask(proxy, endpoint, model, prompt, stream=True)
    assert shown(endpoint, frames) == CLEAN
    assert end(endpoint, frames) == ENDS[endpoint][0]


@pytest.mark.parametrize(("endpoint", "model"), ENDPOINTS)
def test_a_risky_stream_is_cut_and_the_llm_closed(proxy: Proxy, plays: Plays, endpoint: str, model: str) -> None:
    """The clean prefix leaves, the protocol's own end for filtered content, and the LLM is closed."""
    prompt, script = plays(Script.of(CLEAN + BAD, is_endless=True, pause_s=0.005))
    frames = ask(proxy, endpoint, model, prompt, stream=True)
    assert shown(endpoint, frames) == CLEAN
    assert end(endpoint, frames) == ENDS[endpoint][1]
    assert "☠" not in "".join(dig(frames))
    assert script.ended.wait(5)
    assert script.was_cut


@pytest.mark.parametrize(("endpoint", "model"), ENDPOINTS)
def test_a_policy_that_replaces_says_so(proxy: Proxy, plays: Plays, endpoint: str, model: str) -> None:
    """The policy's message follows the clean prefix."""
    prompt, _ = plays(Script.of(CLEAN + BAD))
    frames = ask(proxy, endpoint, model, prompt, stream=True, guardrails="say")
    assert shown(endpoint, frames) == CLEAN + MESSAGE
    assert end(endpoint, frames) == ENDS[endpoint][1]


@pytest.mark.parametrize(("endpoint", "model"), ENDPOINTS)
def test_a_policy_that_raises_ends_with_the_protocols_error(
    proxy: Proxy, plays: Plays, endpoint: str, model: str
) -> None:
    """The last frame is an error that says why."""
    prompt, _ = plays(Script.of(CLEAN + BAD))
    frames = ask(proxy, endpoint, model, prompt, stream=True, guardrails="raise")
    assert MESSAGE in json.dumps(frames[-1])
    assert "error" in json.dumps(frames[-1])


@pytest.mark.parametrize(("endpoint", "model"), ENDPOINTS[1:])
def test_a_harmless_call_leaves_and_a_risky_one_does_not(proxy: Proxy, plays: Plays, endpoint: str, model: str) -> None:
    """The events of a call wait until it has been read whole."""
    prompt, _ = plays(Script(call_deltas("search", '{"q": "bread"}', size=4, text=CLEAN), "tool_calls"))
    frames = ask(proxy, endpoint, model, prompt, stream=True)
    pieces = [text for text in dig(frames) if "bread" in text or "search" in text]
    assert any("search" in piece for piece in pieces)
    risky = json.dumps({"q": BAD}, ensure_ascii=False)
    prompt, _ = plays(Script(call_deltas("search", risky, size=4, text=CLEAN), "tool_calls"))
    frames = ask(proxy, endpoint, model, prompt, stream=True)
    said = "".join(dig([frame for frame in frames if "guardrail" not in json.dumps(frame)]))
    assert "search" not in said
    assert "☠" not in said
    assert shown(endpoint, frames) == CLEAN
    assert end(endpoint, frames) == ENDS[endpoint][1]


WHOLE = [pytest.param("chat/completions", "m", id="chat"), *ENDPOINTS]


@pytest.mark.parametrize(("endpoint", "model"), WHOLE)
def test_a_whole_answer_is_cut(proxy: Proxy, plays: Plays, endpoint: str, model: str) -> None:
    """What stands before the risky text stays, with the end for filtered content."""
    prompt, _ = plays(Script.of(CLEAN + BAD))
    got = ask(proxy, endpoint, model, prompt)
    texts = list(dig(got.json()))
    assert got.status_code == 200
    assert CLEAN in texts
    assert {"content_filter", "refusal"} & set(texts)
    assert "☠" not in "".join(texts)


@pytest.mark.parametrize(("endpoint", "model"), WHOLE)
def test_a_whole_answer_is_replaced(proxy: Proxy, plays: Plays, endpoint: str, model: str) -> None:
    """The policy's message stands alone."""
    prompt, _ = plays(Script.of(CLEAN + BAD))
    texts = list(dig(ask(proxy, endpoint, model, prompt, guardrails="say").json()))
    assert MESSAGE in texts
    assert CLEAN not in texts


@pytest.mark.parametrize(("endpoint", "model"), WHOLE)
def test_a_whole_answer_that_raises_is_http_400(proxy: Proxy, plays: Plays, endpoint: str, model: str) -> None:
    """Nothing of the answer is in the error."""
    prompt, _ = plays(Script.of(CLEAN + BAD))
    got = ask(proxy, endpoint, model, prompt, guardrails="raise")
    assert got.status_code == 400
    assert got.json()["error"]["message"] == MESSAGE
    assert CLEAN not in got.text


@pytest.mark.parametrize("arguments", ['{"q": "bread"}', json.dumps({"q": BAD}, ensure_ascii=False)])
def test_calls_of_a_whole_answer_are_read(proxy: Proxy, plays: Plays, arguments: str) -> None:
    """A harmless call stays, a risky one is taken out."""
    prompt, _ = plays(Script(call_deltas("search", arguments, size=9, text=CLEAN), "tool_calls"))
    (choice,) = ask(proxy, "chat/completions", "m", prompt).json()["choices"]
    if "bread" in arguments:
        assert choice["message"]["tool_calls"][0]["function"]["arguments"] == arguments
    else:
        assert "tool_calls" not in choice["message"]
        assert choice["finish_reason"] == "content_filter"


def test_a_whole_answer_is_repaired(proxy: Proxy, plays: Plays) -> None:
    """The LLM goes on behind what was released."""
    prompt, _ = plays(Script.of(CLEAN + BAD), Script.of(" Now bake it."))
    (choice,) = ask(proxy, "chat/completions", "m", prompt, guardrails="repair").json()["choices"]
    assert choice["message"]["content"] == CLEAN + " Now bake it."
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(("endpoint", "model"), WHOLE)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("guardrail", ["cut", "beside"])
def test_a_risky_prompt_is_http_400(
    proxy: Proxy, plays: Plays, endpoint: str, model: str, stream: bool, guardrail: str
) -> None:
    """In OpenAI's shape (or Anthropic's); before the call the LLM is not even asked."""
    prompt, script = plays(Script.of(CLEAN, pause_s=0.05))
    got = ask(proxy, endpoint, model, f"{prompt} {BAD_PROMPT}", stream=stream, guardrails=guardrail)
    assert got.status_code == 400
    assert got.json()["error"]["message"] == MESSAGE
    assert "☠" not in got.text
    if guardrail == "cut":
        assert not script.requests

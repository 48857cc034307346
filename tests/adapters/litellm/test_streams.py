"""Streams through a real proxy: what leaves, what stays, how they end, and when the LLM is cut off."""

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.adapters.litellm.conftest import BAD, CLEAN, Proxy
from tests.adapters.litellm.upstream import Script

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


@pytest.mark.parametrize("size", [1, 3, 40])
def test_a_harmless_stream_leaves_whole(client: openai.OpenAI, plays: Plays, size: int) -> None:
    """Every character and the LLM's own end arrive."""
    prompt, script = plays(Script.of(CLEAN, size=size))
    chunks = list(chat(client, prompt))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == CLEAN
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert not script.was_cut


@pytest.mark.parametrize("size", [1, 3, 40])
def test_a_risky_stream_is_cut_and_the_llm_closed(client: openai.OpenAI, proxy: Proxy, plays: Plays, size: int) -> None:
    """The clean prefix leaves, then content_filter; the upstream connection closes although the LLM would go on."""
    prompt, script = plays(Script.of(CLEAN + " " + BAD, size=size, is_endless=True, pause_s=0.002))
    chunks = list(chat(client, prompt))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == CLEAN + " "
    assert chunks[-1].choices[0].finish_reason == "content_filter"
    assert script.ended.wait(5)
    assert script.was_cut


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
    assert [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c.get("finish_reason")] == [
        "content_filter"
    ]
    assert "FORBIDDEN" not in got.text
    assert "☠" not in json.dumps(chunks, ensure_ascii=False)

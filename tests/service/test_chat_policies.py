"""What the proxy answers where a policy stops: nothing more, a message, an error, or another attempt of the LLM."""

from typing import Any

import openai
import pytest

from guardrail import OnStop, Policy
from guardrail.policy import ReleaseMode
from tests.service.proxying import FORMS, Plays, chat, frames_of, post, proxying, text_of
from tests.service.servers import Serving, marker_guard
from tests.wire.texts import BAD, CLEAN, dig, shown
from tests.wire.upstream import Script, Upstream

SAID = "This content was stopped by a safety policy."


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("on_stop", [OnStop.TRUNCATE, OnStop.REPLACE])
def test_a_stopped_prompt_is_answered_without_the_llm(
    upstream: Upstream, plays: Plays, form: str, on_stop: OnStop, stream: bool
) -> None:
    """An empty answer, or the policy's message, in the form that was asked for; the upstream never hears of it."""
    prompt, script = plays(Script.of(CLEAN))
    with proxying(upstream.url, guard=marker_guard(Policy(on_stop=on_stop))) as proxy:
        got = post(proxy, form, f"{BAD} {prompt}", stream=stream)
    said = set(dig(frames_of(got.text) if stream else got.json()))
    assert got.status_code == 200
    assert {"content_filter", "Violent"} <= said
    assert (SAID in said) is (on_stop is OnStop.REPLACE)
    assert not script.requests


@pytest.mark.parametrize("stream", [False, True])
def test_a_stopped_prompt_is_an_answer_that_the_client_reads(proxy: Serving, plays: Plays, stream: bool) -> None:
    """For each choice that was asked for."""
    prompt, _ = plays(Script.of(CLEAN))
    with openai.OpenAI(base_url=proxy.base_url, api_key="any", max_retries=0) as client:
        asked: Any = {"model": "m", "messages": [{"role": "user", "content": BAD + prompt}], "n": 2, "stream": stream}
        got: Any = client.chat.completions.create(**asked)
        chunks = list(got) if stream else [got]
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert [(choice.index, choice.finish_reason) for choice in choices] == [(i, "content_filter") for i in (0, 1)]
    assert all(choice.model_extra["guardrail"]["direction"] == "prompt" for choice in choices)


def test_an_absurd_number_of_choices_is_not_answered_each(proxy: Serving) -> None:
    """A stopped prompt costs little, whatever it asks for."""
    for stream in (False, True):
        got = post(proxy, "chat/completions", BAD, n=10**9, stream=stream)
        assert got.text.count("content_filter") == 128


def test_a_policy_that_raises_answers_with_an_error(upstream: Upstream, plays: Plays) -> None:
    """400 for a prompt and a whole answer; a stream's last frame, behind the clean prefix."""
    with proxying(upstream.url, guard=marker_guard(Policy(on_stop=OnStop.RAISE))) as proxy:
        prompt, script = plays(Script.of(CLEAN + BAD, size=3))
        for asked in (prompt, BAD + prompt):
            error = post(proxy, "chat/completions", asked).json()["error"]
            assert (error["message"], error["code"], error["guardrail"]["category"]) == (
                SAID,
                "content_filter",
                "Violent",
            )
        assert len(script.requests) == 1
        with openai.OpenAI(base_url=proxy.base_url, api_key="any", max_retries=0) as client:
            chunks: list[Any] = []
            with pytest.raises(openai.APIError, match="stopped by a safety policy"):
                chunks.extend(chat(client, prompt))
    assert text_of(chunks) == CLEAN


def test_a_policy_that_replaces_says_so(upstream: Upstream, plays: Plays) -> None:
    """Behind the clean prefix of a stream; alone in a whole answer."""
    prompt, _ = plays(Script.of(CLEAN + BAD, size=3))
    with proxying(upstream.url, guard=marker_guard(Policy(on_stop=OnStop.REPLACE))) as proxy:
        frames = frames_of(post(proxy, "chat/completions", prompt, stream=True).text)
        whole = post(proxy, "chat/completions", prompt).json()
    assert shown("chat/completions", frames[:-1]) == CLEAN + SAID
    assert whole["choices"][0]["message"]["content"] == SAID


@pytest.mark.parametrize("stream", [False, True])
def test_a_repaired_answer_goes_on_behind_what_was_released(upstream: Upstream, plays: Plays, stream: bool) -> None:
    """The LLM is asked again with the released text and an instruction; its first stream is closed."""
    first = Script.of(CLEAN + BAD, is_endless=stream, pause_s=0.005 * stream)
    prompt, _ = plays(first, second := Script.of(" Now bake it."))
    with proxying(upstream.url, guard=marker_guard(Policy(on_stop=OnStop.REPAIR))) as proxy:
        got = post(proxy, "chat/completions", prompt, stream=stream)
    said = (
        shown("chat/completions", frames_of(got.text)[:-1])
        if stream
        else got.json()["choices"][0]["message"]["content"]
    )
    assert said == CLEAN + " Now bake it."
    assert [message["role"] for message in second.requests[0]["messages"]] == ["user", "assistant", "user"]
    assert "content_filter" not in got.text
    assert first.was_cut is stream


def test_a_policy_that_holds_answers_lets_nothing_of_a_stopped_one_out(upstream: Upstream, plays: Plays) -> None:
    """`release = "answer"`: no text at all."""
    prompt, _ = plays(Script.of(CLEAN + BAD))
    with proxying(upstream.url, guard=marker_guard(Policy(release=ReleaseMode.ANSWER))) as proxy:
        frames = frames_of(post(proxy, "chat/completions", prompt, stream=True).text)
    assert shown("chat/completions", frames[:-1]) == ""
    assert "content_filter" in set(dig(frames))

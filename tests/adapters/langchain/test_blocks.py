"""Answers in content blocks, with reasoning: nothing goes around the gate, and everything keeps its place."""

import json
import operator
from collections.abc import Iterable
from functools import reduce
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk

from guardrail.adapters.langchain import GuardedChatModel


def blocks(kind: str, texts: list[str], index: int = 0) -> list[AIMessageChunk]:
    """Return chunks whose content is one block with a piece of text each, as the providers stream it."""
    key = {"text": "text", "thinking": "thinking", "reasoning": "reasoning", "refusal": "refusal"}[kind]
    return [AIMessageChunk(content=[{"type": kind, key: text, "index": index}]) for text in texts]


def joined(pieces: Iterable[Any]) -> Any:
    """Return the message that the pieces make up."""
    return reduce(operator.add, pieces)


def answers(model: GuardedChatModel) -> list[Any]:
    """Return what a model answers streamed, joined, and whole."""
    return [joined(model.stream("Q")), model.invoke("Q")]


@pytest.mark.parametrize("kind", ["text", "thinking", "reasoning", "refusal"])
def test_text_in_blocks_is_gated(guard: Any, script: Any, samples: Any, kind: str) -> None:
    """A block's text stops as plain text does, in streams and whole; the block keeps its type and index."""
    pieces = [str(chunk.text) for chunk in samples.cut(samples.answer, 5)]
    model = GuardedChatModel(script(chunks=blocks(kind, pieces)), guard)
    for whole in answers(model):
        (block,) = whole.content
        assert block == {"type": kind, kind: samples.answer.split("☠")[0], "index": 0}
        assert whole.response_metadata["finish_reason"] == "content_filter"


def test_reasoning_then_answer_pass_in_order(guard: Any, script: Any, samples: Any) -> None:
    """Reasoning, its signature and the answer arrive as sent."""
    chunks = [
        *blocks("thinking", ["Bread ", "is easy."]),
        AIMessageChunk(content=[{"type": "thinking", "signature": "s1g", "index": 0}]),
        *blocks("text", [samples.safe[:9], samples.safe[9:]], index=1),
    ]
    whole = joined(GuardedChatModel(script(chunks=chunks), guard).stream("Q"))
    assert whole.content == [
        {"type": "thinking", "thinking": "Bread is easy.", "signature": "s1g", "index": 0},
        {"type": "text", "text": samples.safe, "index": 1},
    ]


def test_reasoning_in_summaries_is_gated(guard: Any, script: Any, samples: Any) -> None:
    """Summaries below a reasoning block are read as reasoning."""
    block = {"type": "reasoning", "summary": [{"type": "summary_text", "text": samples.answer, "index": 0}], "index": 0}
    model = GuardedChatModel(script(chunks=[AIMessageChunk(content=[block])]), guard)
    whole = joined(model.stream("Q"))
    assert whole.content[0]["summary"][0]["text"] == samples.answer.split("☠")[0]
    assert samples.secret not in repr(model.invoke("Q"))


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking", "refusal"])
def test_text_in_extra_arguments_is_gated(guard: Any, script: Any, samples: Any, key: str) -> None:
    """Providers that send reasoning beside the content cannot send it around the gate."""
    chunks = [AIMessageChunk(content="", additional_kwargs={key: str(c.text)}) for c in samples.cut(samples.answer, 4)]
    model = GuardedChatModel(script(chunks=chunks), guard)
    for whole in answers(model):
        assert whole.additional_kwargs[key] == samples.answer.split("☠")[0]
        assert whole.text == ""


def test_reasoning_between_two_pieces_of_answer_is_judged(guard: Any, script: Any, samples: Any) -> None:
    """Interleaved reasoning is judged as answer, and stops like it."""
    chunks = [*blocks("text", ["Well. "]), *blocks("thinking", [samples.answer], 1), *blocks("text", ["So."], 2)]
    whole = joined(GuardedChatModel(script(chunks=chunks), guard).stream("Q"))
    assert [block["type"] for block in whole.content] == ["text", "thinking"]
    assert samples.secret not in repr(whole)


def test_opaque_blocks_wait_for_the_text_before_them(guard: Any, script: Any, samples: Any) -> None:
    """An image keeps its place behind text, and never follows a stop."""
    image = {"type": "image", "url": "https://example.org/x.png", "index": 1}
    safe = AIMessageChunk(content=[{"type": "text", "text": samples.safe, "index": 0}, image])
    risky = AIMessageChunk(content=[{"type": "text", "text": samples.answer, "index": 0}, image])
    for whole in answers(GuardedChatModel(script(chunks=[safe]), guard)):
        assert whole.content == safe.content
    assert "image" not in repr(joined(GuardedChatModel(script(chunks=[risky]), guard).stream("Q")).content)


def test_annotations_come_with_the_end_of_their_text(guard: Any, script: Any, samples: Any) -> None:
    """A citation may quote the text it belongs to, so a stopped block loses it."""
    block = {"type": "text", "text": samples.answer, "annotations": [{"quote": samples.secret}], "index": 0}
    whole: Any = GuardedChatModel(script(chunks=[AIMessageChunk(content=[block])]), guard).invoke("Q")
    assert whole.content == [{"type": "text", "text": samples.answer.split("☠")[0], "index": 0}]


def test_output_version_is_adopted(guard: Any, script: Any, samples: Any) -> None:
    """A model set to v1 content blocks gives those when guarded."""
    whole = GuardedChatModel(script(samples.safe, output_version="v1"), guard).invoke("Q")
    assert whole.content == [{"type": "text", "text": samples.safe}]


def test_signatures_of_reasoning_come_once_and_late(guard: Any, script: Any, samples: Any) -> None:
    """What a reasoning block holds besides text rides with its last piece, and not at all after a stop."""
    for text in (samples.safe, samples.answer):
        inner = [{"type": "summary_text", "text": text, "index": 0}]
        block = {"type": "reasoning", "summary": inner, "signature": "s1g", "index": 0}
        whole = joined(GuardedChatModel(script(chunks=[AIMessageChunk(content=[block])]), guard).stream("Q"))
        assert whole.content[0].get("signature") == ("s1g" if text == samples.safe else None)


@pytest.mark.parametrize("rest", [
    {"type": "reasoning", "reasoning": "Let me see.", "summary": [{"type": "summary_text", "text": "TEXT"}]},
    {"type": "text", "text": "Well.", "refusal": "TEXT"},
    {"type": "audio", "transcript": "TEXT", "data": "AAAA"},
    {"type": "custom", "content": [{"type": "text", "text": "TEXT"}]},
    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "TEXT"}},
    {"type": "server_tool_call", "id": "s", "name": "run", "args": {"code": "TEXT"}},
    {"type": "executable_code", "executable_code": "TEXT"},
    {"type": "code_interpreter_call", "id": "s", "code": "TEXT", "status": "completed"},
    {"type": "non_standard", "value": {"output": "TEXT"}},
    {"type": "text", "text": {"value": "TEXT", "annotations": []}},
    {"type": "reasoning", "summary": ["TEXT"]},
], ids=["reasoning", "two texts", "audio", "custom", "server tool", "standard server tool", "code", "interpreter",
        "non-standard", "text object", "list of summaries"])  # fmt: skip
def test_blocks_with_texts_elsewhere_leave_whole_or_not_at_all(
    guard: Any, script: Any, samples: Any, rest: dict[str, Any]
) -> None:
    """Every text of a block is judged, wherever it stands; none rides unread beside another."""
    for text in (samples.safe, samples.answer):
        block = json.loads(json.dumps(rest).replace("TEXT", text))
        for whole in answers(GuardedChatModel(script(chunks=[AIMessageChunk(content=[block])]), guard)):
            assert whole.content == ([block] if text == samples.safe else [])


@pytest.mark.parametrize("extra", ["audio", "reasoning", "reasoning_details"])
def test_text_inside_extra_arguments_is_gated(guard: Any, script: Any, samples: Any, extra: str) -> None:
    """Transcripts and reasoning objects beside the content leave whole once their text is released, or not at all."""
    for text in (samples.safe, samples.answer):
        values = {
            "audio": {"id": "a", "transcript": text},
            "reasoning": {"summary": [{"type": "summary_text", "text": text}]},
            "reasoning_details": [{"type": "reasoning.text", "text": text}],
        }
        kept = {extra: values[extra]}
        model = GuardedChatModel(script(chunks=[AIMessageChunk(content="", additional_kwargs=kept)]), guard)
        for whole in answers(model):
            assert whole.additional_kwargs == (kept if text == samples.safe else {})

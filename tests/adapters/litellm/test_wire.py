"""Pieces in every form in which LiteLLM may hand them to the hook: objects, dicts, bytes cut anywhere, and rubbish."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

import pytest
from litellm.types.utils import Delta, ModelResponse, ModelResponseStream, StreamingChoices

from guardrail import Action, OnStop
from guardrail.adapters.litellm import NotUnderstood
from guardrail.adapters.litellm.requests import exchange_of
from guardrail.adapters.litellm.streaming import GatedStream
from tests.adapters.litellm.gatekeepers import make_guard
from tests.wire import frames
from tests.wire.texts import BAD, CLEAN, call_deltas, dig, shown

# litellm's own types make pydantic warn, once, when the first of them is built

KINDS = ["chat/completions", "completions", "responses", "messages"]


def sse(kind: str, deltas: list[dict[str, Any]], finish: str = "stop") -> str:
    """Return a whole stream as an upstream sends it."""
    form = frames.FORMS[kind]({"model": "m"})
    return "".join([*form.opening(), *(frame for delta in deltas for frame in form.add(delta)), *form.closing(finish)])


def dicts(stream: str) -> list[Any]:
    """Return the events of a stream."""
    payloads = [line[6:] for line in stream.split("\n") if line.startswith("data: ")]
    return [json.loads(payload) for payload in payloads if payload != "[DONE]"]


async def gate(pieces: Iterable[Any], **changes: Any) -> list[Any]:
    """Run pieces through the gate."""

    async def source() -> AsyncGenerator[Any]:
        for piece in pieces:
            yield piece

    async def on_cut(_gate: Any) -> None:
        await asyncio.sleep(0)

    exchange = exchange_of(make_guard(**changes), {"messages": [{"role": "user", "content": "How?"}]})
    return [piece async for piece in GatedStream(exchange, source(), on_cut).pieces()]


def events(pieces: list[Any]) -> list[Any]:
    """Return what came out as events, whatever its form."""
    if pieces and not isinstance(pieces[0], bytes | str):
        return pieces
    return dicts(b"".join(piece.encode() if isinstance(piece, str) else piece for piece in pieces).decode())


def as_bytes(size: int) -> Callable[[str], list[Any]]:
    """Return a form: bytes, cut everywhere, also inside characters."""
    return lambda stream: [stream.encode()[i : i + size] for i in range(0, len(stream.encode()), size)]


FORMS = [
    pytest.param(dicts, id="dicts"),
    pytest.param(lambda stream: [f"{frame}\n\n" for frame in stream.split("\n\n") if frame], id="text"),
    *(pytest.param(as_bytes(size), id=f"bytes-{size}") for size in (1, 7, 4096)),
    pytest.param(lambda stream: [stream.replace("\n", "\r\n").encode()], id="crlf"),
    pytest.param(lambda stream: [b": ping\n\n", stream.encode(), b": bye\n\n"], id="comments"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
async def test_every_form_is_gated(kind: str, form: Callable[[str], list[Any]]) -> None:
    """The clean text leaves, the rest does not, in each format and however it comes."""
    deltas = [{"content": piece} for piece in (CLEAN[:10], CLEAN[10:], BAD[:5], BAD[5:])]
    out = events(await gate(form(sse(kind, deltas))))
    assert shown(kind, out) == CLEAN
    assert {"content_filter", "refusal"} & set(dig(out))
    assert "☠" not in "".join(dig(out))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
async def test_a_harmless_stream_keeps_its_events(kind: str, form: Callable[[str], list[Any]]) -> None:
    """Its text and its last event arrive."""
    stream = sse(kind, [{"content": piece} for piece in (CLEAN[:10], CLEAN[10:])])
    out = events(await gate(form(stream)))
    assert shown(kind, out) == CLEAN
    assert out[-1].get("type") == dicts(stream)[-1].get("type")


@pytest.mark.parametrize("kind", ["responses", "messages"])
async def test_a_call_in_dicts_is_held(kind: str) -> None:
    """A harmless one leaves after its end, a risky one never."""
    for arguments, leaves in (('{"q": "bread"}', True), (json.dumps({"q": BAD}, ensure_ascii=False), False)):
        deltas = call_deltas("search", arguments, size=4, text=CLEAN)
        out = await gate(dicts(sse(kind, deltas, "tool_calls")))
        assert ("call0" in dig(out)) is leaves


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"stray bytes"], id="stray-bytes"),
        pytest.param([b"data: no json\n\n"], id="no-json"),
        pytest.param([b"data: {" + b"x" * 2**20] * 17, id="endless-frame"),
        pytest.param([b"data: [1]\n\n"], id="no-object"),
        pytest.param([{"surprise": BAD}], id="unknown-dict"),
        pytest.param([{"choices": [{"delta": BAD}]}], id="bad-delta"),
        pytest.param([{"type": "response.surprise", "delta": BAD}], id="unknown-event"),
        pytest.param([{"type": "response.output_item.added", "output_index": 0, "item": {"type": "x"}}], id="item"),
        pytest.param([{"type": "content_block_start", "index": 0, "content_block": {"type": "x"}}], id="block"),
        pytest.param([{"type": "message_start", "message": {"content": [{"type": "text", "text": BAD}]}}], id="start"),
        pytest.param([ModelResponse()], id="whole-answer"),
        pytest.param([object()], id="object"),
        pytest.param([7], id="number"),
    ],
)
async def test_what_is_not_understood_never_passes(pieces: list[Any]) -> None:
    """The stream ends with a clear error that holds nothing of the piece."""
    with pytest.raises(NotUnderstood) as caught:
        await gate(pieces)
    assert "FORBIDDEN" not in str(caught.value)


def chunk(index: int = 0, finish_reason: str | None = None, logprobs: Any = None, **delta: Any) -> ModelResponseStream:
    """Return a chunk of a chat completion."""
    choice = StreamingChoices(index=index, delta=Delta(**delta), finish_reason=finish_reason, logprobs=logprobs)
    return ModelResponseStream(id="c", model="m", choices=[choice])


EXTRAS = [
    pytest.param({"thinking_blocks": [{"type": "thinking", "thinking": BAD, "signature": "s"}]}, id="thinking-blocks"),
    pytest.param({"provider_specific_fields": {"note": BAD}}, id="provider-fields"),
    pytest.param({"annotations": [{"type": "url_citation", "url_citation": {"title": BAD}}]}, id="annotations"),
    pytest.param({"logprobs": {"content": [{"token": BAD, "logprob": -1.0, "top_logprobs": []}]}}, id="logprobs"),
]


@pytest.mark.parametrize("extra", EXTRAS)
async def test_what_rides_along_waits_for_the_end(extra: dict[str, Any]) -> None:
    """What repeats text in other fields leaves with an answer that passes, and not with one that is stopped."""
    passes = await gate([chunk(content="Bread", **extra), chunk(finish_reason="stop")])
    assert "FORBIDDEN" in json.dumps([one.model_dump() for one in passes], ensure_ascii=False)
    assert "FORBIDDEN" not in json.dumps([passes[0].model_dump()], ensure_ascii=False)
    stops = await gate([chunk(content="Bread", **extra), chunk(content=BAD), chunk(finish_reason="stop")])
    assert "FORBIDDEN" not in json.dumps([one.model_dump() for one in stops], ensure_ascii=False)


async def test_a_function_call_of_the_old_kind_is_read() -> None:
    """`delta.function_call` is held and judged as a tool call."""
    pieces = [{"name": "search", "arguments": ""}, {"arguments": BAD}]
    out = await gate([*(chunk(function_call=piece) for piece in pieces), chunk(finish_reason="function_call")])
    assert [c.finish_reason for one in out for c in one.choices if c.finish_reason] == ["content_filter"]
    assert "search" not in json.dumps([c.delta.function_call for one in out for c in one.choices if c.delta])


async def test_calls_whose_pieces_alternate_are_read_each_by_itself() -> None:
    """Providers may interleave parallel calls."""
    deltas = [
        {"index": 0, "id": "a", "function": {"name": "search", "arguments": '{"q": '}},
        {"index": 1, "id": "b", "function": {"name": "search", "arguments": '{"q": '}},
        {"index": 0, "function": {"arguments": '"bread"}'}},
        {"index": 1, "function": {"arguments": json.dumps(BAD)}},
    ]
    for n, end in ((3, "tool_calls"), (4, "content_filter")):
        out = await gate([*(chunk(tool_calls=[d]) for d in deltas[:n]), chunk(finish_reason="tool_calls")])
        assert [c.finish_reason for one in out for c in one.choices if c.finish_reason] == [end]


async def test_text_behind_a_call_is_read() -> None:
    """A risky text cannot hide behind a harmless call."""
    call = {"index": 0, "id": "a", "function": {"name": "search", "arguments": "{}"}}
    out = await gate([chunk(content=CLEAN), chunk(tool_calls=[call]), chunk(content=BAD), chunk(finish_reason="stop")])
    assert "".join(c.delta.content or "" for one in out for c in one.choices) == CLEAN
    assert [c.finish_reason for one in out for c in one.choices if c.finish_reason] == ["content_filter"]


async def test_probabilities_do_not_name_withheld_tokens() -> None:
    """A response's delta of which only a part is shown loses its log probabilities."""
    event = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": CLEAN + BAD}
    out = await gate([{**event, "logprobs": [{"token": BAD, "logprob": -1.0}]}])
    assert shown("responses", out) == CLEAN
    assert "FORBIDDEN" not in "".join(dig(out))


async def test_a_response_that_begins_with_text_is_read() -> None:
    """Its first event may repeat text, as a resumed one does."""
    part = {"type": "output_text", "text": CLEAN + BAD}
    response = {"output": [{"type": "message", "content": [part]}]}
    out = await gate([{"type": "response.created", "response": response}])
    assert "FORBIDDEN" not in "".join(dig(out[:1]))


async def test_images_end_an_answer_if_the_policy_stops_at_them() -> None:
    """By default they are passed on at the end."""
    pieces = [chunk(content=CLEAN, images=[{"type": "image_url", "image_url": {"url": "data:,"}, "index": 0}])]
    assert "data:," in json.dumps([one.model_dump() for one in await gate(pieces)])
    with pytest.raises(NotUnderstood, match="images"):
        await gate(pieces, unreadable=Action.STOP)


async def test_shadow_lets_all_out() -> None:
    """A policy that does not enforce changes nothing."""
    out = await gate([chunk(content=CLEAN + BAD), chunk(finish_reason="stop")], enforce=False, on_stop=OnStop.REPLACE)
    assert "".join(c.delta.content or "" for one in out for c in one.choices) == CLEAN + BAD

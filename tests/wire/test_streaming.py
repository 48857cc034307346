"""A stream's end: when the LLM's connection is closed, and what is let out of one that breaks."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from guardrail import OnStop, Policy
from guardrail.wire.errors import AnswerStopped, NotUnderstood
from guardrail.wire.frames import frame
from guardrail.wire.streaming import GatedStream
from tests.wire.test_chat import chunk, exchange
from tests.wire.texts import BAD, CLEAN


class Source:
    """Bytes of an LLM that never ends.

    Attributes:
        is_closed: whether it was closed.
    """

    def __init__(self, *texts: str) -> None:
        self._pieces = [frame(chunk({"content": text})) for text in texts]
        self.is_closed = False

    async def items(self) -> AsyncGenerator[bytes]:
        """Yield all texts, and the last one for ever."""
        try:
            for piece in self._pieces:
                yield piece
            while True:
                yield self._pieces[-1]
        finally:
            self.is_closed = True


async def collect(stream: GatedStream, into: list[bytes]) -> None:
    """Read a stream; what came before an exception stays in the list."""
    async for piece in stream.pieces():
        into.append(piece)  # noqa: PERF401  # piece by piece


async def settle(_gate: Any) -> None:
    """Note nothing."""


async def test_the_llm_is_closed_before_the_end_is_given_out() -> None:
    """A reader who stops at the last frame, or reads it late, lets no token be written in between."""
    source = Source(CLEAN, BAD)
    stream = GatedStream(exchange(), source.items(), settle)
    async with aclosing(stream.pieces()) as pieces:
        closed = [source.is_closed async for piece in pieces if b"content_filter" in piece]
    assert closed == [True]


async def test_a_policy_that_raises_does_so_behind_the_clean_text() -> None:
    """With the decision."""
    source = Source(CLEAN, BAD)
    stream = GatedStream(exchange(Policy(on_stop=OnStop.RAISE)), source.items(), settle)
    shown: list[bytes] = []
    with pytest.raises(AnswerStopped) as caught:
        await collect(stream, shown)
    assert "".join(json.loads(one[6:])["choices"][0]["delta"]["content"] for one in shown) == CLEAN
    assert caught.value.decision.category == "Violent"
    assert source.is_closed


async def test_a_reader_who_leaves_closes_the_llm() -> None:
    """In the middle of the stream."""
    source = Source(CLEAN, " and more")
    async with aclosing(GatedStream(exchange(), source.items(), settle).pieces()) as pieces:
        await anext(pieces)
        assert not source.is_closed
    assert source.is_closed


async def test_a_stream_that_is_not_understood_tells_of_what_it_had() -> None:
    """Its answers are told of once, and the LLM is closed."""
    told: list[Any] = []

    async def note(gate: Any) -> None:
        told.append(gate)

    source = Source(CLEAN, CLEAN)
    source._pieces[1] = b"data: rubbish\n\n"
    stream = GatedStream(exchange(), source.items(), note)
    with pytest.raises(NotUnderstood):
        await collect(stream, [])
    assert told == [stream.gate]
    assert source.is_closed

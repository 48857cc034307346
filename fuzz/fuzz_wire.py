"""Streams of an LLM through the gates themselves, under many policies: no text behind a marker, and an end in order."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fuzz.llm import BODIES, answers, is_to_be_caught
from fuzz.serving import dumped, is_risky, marked_guard, new_loop
from fuzz.shaping import BRIEF, damaged_bytes, from_bytes, strict_json, strings
from guardrail import Guard
from guardrail.conversation import Message, Role
from guardrail.policy import OnStop, Policy, ReleaseMode, Rules
from guardrail.wire.errors import AnswerStopped, NotUnderstood
from guardrail.wire.exchange import Exchange
from guardrail.wire.frames import frame
from guardrail.wire.gate import Gate
from guardrail.wire.streaming import GatedStream
from tests.wire.frames import FORMS

ASKED = (Message(Role.USER, "how?"),)
LOOP = new_loop()

CLEAN_AGAIN = [frame({"choices": [{"index": 0, "delta": {"content": " go on"}, "finish_reason": "stop"}]})]


class Source:
    """Bytes of an LLM, which count who closes them."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self.is_closed = False

    async def items(self) -> AsyncGenerator[bytes]:
        """Yield the bytes."""
        try:
            for piece in self._pieces:
                yield piece
        finally:
            self.is_closed = True


@cache
def guard(on_stop: OnStop, release: ReleaseMode) -> Guard:
    """Return the marker's guard with a policy."""
    return marked_guard(Policy(response=Rules(debounce=1), on_stop=on_stop, release=release, max_repairs=1))


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], bool]:
    """Return the bytes of a stream in pieces, and whether every marker in it must be caught."""
    form = draw(st.sampled_from(sorted(BODIES)))
    body, values, kind = draw(answers(form))
    if kind == b"application/json":  # no frames: a stream's opening in their place, cut short
        body, values = "".join(FORMS[form](BODIES[form]).opening()).encode(), []
    spoiled = draw(damaged_bytes(body)) if draw(st.integers(0, 3)) == 0 else body
    n = max(draw(st.sampled_from([1, 7, 40, 500, 10**6])), len(spoiled) // 300)
    pieces = [spoiled[i : i + n] for i in range(0, len(spoiled), n)]
    return pieces, spoiled == body and is_to_be_caught(form, values)


@BRIEF
@given(
    stream=streams(), on_stop=st.sampled_from(OnStop), n_choices=st.integers(1, 2), may_ask_again=st.booleans(),
    release=st.sampled_from([ReleaseMode.TOKEN, ReleaseMode.ANSWER]),
)  # fmt: skip
def holds(
    stream: tuple[list[bytes], bool], on_stop: OnStop, n_choices: int, may_ask_again: bool, release: ReleaseMode
) -> None:
    """What leaves is JSON without a marker; the LLM is closed; only a stop or what cannot be read ends in an error."""
    pieces, catches = stream
    exchange = Exchange(guard(on_stop, release), ASKED, "c", n_choices=n_choices)
    source, told = Source(pieces), list[Gate]()

    async def note(gate: Gate) -> None:
        told.append(gate)

    async def ask_again(_more: list[dict[str, Any]]) -> AsyncGenerator[bytes]:
        return Source(CLEAN_AGAIN).items()

    gated = GatedStream(exchange, source.items(), note, ask_again if may_ask_again else None)
    left = LOOP.run_until_complete(collected(gated))
    assert source.is_closed or not pieces, "the LLM was left open"
    assert len(told) <= 1, "told twice of one stop"
    for value in (strict_json(piece.partition(b"data: ")[2]) for piece in left):
        texts = [text for _, text in strings(value)] if catches else []
        assert not any(map(is_risky, texts)), "a marker left"


async def collected(gated: GatedStream) -> list[bytes]:
    """Return the frames that left, the last of which may tell of an error."""
    left: list[bytes] = []
    try:
        async with aclosing(gated.pieces()) as pieces:
            async for piece in pieces:
                left.append(piece)  # noqa: PERF401 - what came before an error counts too
    except (AnswerStopped, NotUnderstood) as error:
        left.append(b"data: " + dumped({"message": error.message}))
    return left


one_input = from_bytes(holds)

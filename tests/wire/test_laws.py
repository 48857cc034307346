"""The laws of the gate in OpenAI's formats: however a stream is cut, what leaves is what the facade releases."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guardrail import Guard, GuardTokenizer, Policy
from guardrail.conversation import Message, Role
from guardrail.engines.base import Engine
from guardrail.policy import ReleaseMode
from guardrail.waiting import run
from guardrail.wire.exchange import Exchange
from guardrail.wire.frames import Frames
from guardrail.wire.gate import Gate, gate_for
from tests.strategies import chunk_sizes, cuts, texts
from tests.wire.frames import FORMS
from tests.wire.texts import shown

ASKED = (Message(Role.USER, "Tell me something."),)


def sse(form: str, deltas: list[str]) -> bytes:
    """Return a stream as an LLM sends it."""
    made = FORMS[form]({"model": "m"})
    frames = [frame for delta in deltas for frame in made.add({"content": delta})]
    return "".join([*made.opening(), *frames, *made.closing("stop")]).encode("utf-8", "surrogatepass")


def passing(exchange: Exchange, stream: list[bytes]) -> Iterator[Any]:
    """Yield what leaves, as JSON, of a stream that arrives in these pieces; all is read wherever a piece ends."""
    frames = Frames()
    gate: Gate | None = None
    for data in stream:
        for piece, _ in frames.take(data):
            gate = gate or gate_for(piece, exchange, allows_repair=False)
            yield from run(gate.taking(piece))
        if gate:
            yield from run(gate.catching_up())
    frames.end()
    assert gate
    yield from run(gate.finishing())
    gate.close()


@pytest.mark.parametrize("form", ["chat/completions", "completions", "responses"])
@given(
    text=texts(), sizes=chunk_sizes, n_bytes=st.integers(1, 400), release=st.sampled_from(["token", "answer"]),
    debounce=st.sampled_from([1, 2]),
)  # fmt: skip
@example(text="d\u0301\u0323 \U0001fae8\U0001fae8 x", sizes=[1], n_bytes=1, release="token", debounce=1)
def test_what_leaves_is_what_the_facade_releases(
    engines: dict[str, Engine], tokenizer: GuardTokenizer, form: str, text: str, sizes: list[int], n_bytes: int,
    release: str, debounce: int,
) -> None:  # fmt: skip
    """A prefix of the text that ends before the risky run, all of it without one; nothing leaves behind a stop."""
    rules = Policy().response
    policy = Policy(release=ReleaseMode(release), response=type(rules)(debounce=debounce))
    guard = Guard(engines["fake"], tokenizer, policy=policy)
    with guard.open_stream(ASKED) as plain:
        released = plain.feed(text) + plain.finish()
    stream = sse(form, cuts(text, sizes) or [""])
    pieces = [stream[i : i + n_bytes] for i in range(0, len(stream), n_bytes)]
    left = list(passing(Exchange(guard, ASKED, None), pieces))
    assert shown(form, left) == released
    assert text.startswith(released)
    decision = plain.decision
    if decision.stopped:
        assert decision.stop_offset is not None
        assert len(released) <= decision.stop_offset
    else:
        assert released == text
    assert ("content_filter" in repr(left[-1])) is decision.stopped

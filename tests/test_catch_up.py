"""Text that is at hand is read in one call: fewer calls of the engine, and no other verdict, stop or text."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guardrail import Action, Guard, Policy, Reason, StreamClosed
from guardrail.ahead import Ahead
from guardrail.answering import UNREAD_CHARS
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine
from guardrail.policy import ReleaseMode, TooLong
from guardrail.stream import Stream
from guardrail.testing import HashEngine, MarkerEngine
from tests.counting import CountingEngine
from tests.engines.gated import GatedEngine
from tests.strategies import chunk_sizes, cuts, texts
from tests.test_laws import HOLDING, guard_for, margin

marks = st.lists(st.booleans(), min_size=1, max_size=9)
"""Which deltas are fed while more is at hand, over and over."""

ENGINES = pytest.mark.parametrize("name", ["fake", "torch", "onnx-fp32", "onnx-int8", "scheduled-onnx-fp32"])


def feed(stream: Stream, pieces: Sequence[str], more: Sequence[bool]) -> str:
    """Feed pieces and finish; return what was released."""
    released = [stream.feed(piece, more=more[i % len(more)]) for i, piece in enumerate(pieces)]
    return "".join(released) + stream.finish()


def outcome(stream: Stream, released: str) -> dict[str, object]:
    """What may not depend on what was fed together."""
    decision = stream.decision
    names = ("action", "reason", "risk", "category", "stop_offset", "n_windows", "n_tokens", "failure")
    tokens = [(token.start, token.end, token.risk) for token in stream.verdicts]
    return {"released": released, "tokens": tokens, **{name: getattr(decision, name) for name in names}}


@ENGINES
@pytest.mark.parametrize("debounce", [1, 2])
@given(text=texts(), sizes=chunk_sizes, more=marks, release=st.sampled_from(HOLDING), held=st.sampled_from([None, 4]))
def test_reading_together_changes_nothing(
    engines: dict[str, Engine], tokenizer: GuardTokenizer, name: str, debounce: int, text: str, sizes: list[int],
    more: list[bool], release: ReleaseMode, held: int | None,
) -> None:  # fmt: skip
    """Verdicts, stop and text are those of delta by delta, for every engine; also where held text is bounded."""
    guard = guard_for(engines, tokenizer, name, debounce=debounce, release=release, max_held_chars=held)
    assume(margin(guard.judge_response("Hi", text)) > (0.1 if name.endswith("int8") else 1e-4))
    pieces = cuts(text, sizes)
    single, together = guard.open_stream("Hi"), guard.open_stream("Hi")
    assert outcome(together, feed(together, pieces, more)) == outcome(single, feed(single, pieces, [False]))
    if not single.is_stopped:
        assert together.decision.n_deltas == single.decision.n_deltas == len(pieces)


@given(text=texts(max_pieces=40), sizes=chunk_sizes, more=marks)
def test_reading_together_slides_over_a_small_context_in_the_same_place(
    tokenizer: GuardTokenizer, text: str, sizes: list[int], more: list[bool]
) -> None:
    """Windows begin where they would, and their verdicts are the same."""
    engine = HashEngine(vocab_size=tokenizer.vocab_size, max_context=64, risky_share=0.05)
    guard = Guard(engine, tokenizer, policy=replace(Policy(), too_long=TooLong.SLIDE))
    single, together = guard.open_stream("Hi"), guard.open_stream("Hi")
    pieces = cuts(text, sizes)
    assert outcome(together, feed(together, pieces, more)) == outcome(single, feed(single, pieces, [False]))


@given(text=texts(), sizes=chunk_sizes, more=marks, split=st.integers(0, 30))
def test_reasoning_may_be_read_together_with_the_answer(
    engines: dict[str, Engine], tokenizer: GuardTokenizer, text: str, sizes: list[int], more: list[bool], split: int
) -> None:
    """The think block ends where it did."""
    guard = guard_for(engines, tokenizer, "fake")
    found = []
    for mark in (more, [False]):
        stream = guard.open_stream("Think.")
        thoughts = [stream.feed(piece, thinking=True, more=mark[0]) for piece in cuts(text[:split], sizes)]
        found.append(outcome(stream, "".join(thoughts) + feed(stream, cuts(text[split:], sizes), mark)))
    assert found[0] == found[1]


@given(value=texts(), sizes=chunk_sizes, more=marks, seed=st.integers(0, 5))
def test_calls_may_be_read_together_too(
    tokenizer: GuardTokenizer, value: str, sizes: list[int], more: list[bool], seed: int
) -> None:
    """A tool call's decision does not depend on which of its pieces were at hand."""
    guard = Guard(HashEngine(vocab_size=tokenizer.vocab_size, seed=seed), tokenizer)
    found = []
    for mark in (more, [False]):
        with guard.open_tool_call("Hi", "write") as call:
            for i, piece in enumerate(cuts(f'{{"text": "{value}"}}', sizes)):
                call.feed(piece, more=mark[i % len(mark)])
            decision = call.finish()
        found.append((decision.action, decision.stop_offset, decision.category, [t.risk for t in decision.tokens]))
    assert found[0] == found[1]


@pytest.fixture
def engine(tokenizer: GuardTokenizer) -> CountingEngine:
    """Counts the calls of an engine that stops at a marker."""
    return CountingEngine(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}))


WORDS = [f"word {letter} " for letter in "abcdefghijklmnopqrst"]


def test_what_is_at_hand_costs_one_call(engine: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """Nothing leaves and nothing is read until the last of it; an empty delta reads what waits."""
    stream = Guard(engine, tokenizer).open_stream("Hi")
    n_calls = len(engine.fed)
    assert [stream.feed(word, more=True) for word in WORDS] == [""] * 20
    assert len(engine.fed) == n_calls
    assert stream.feed("").startswith("".join(WORDS[:-1]))
    assert len(engine.fed) == n_calls + 1
    assert (stream.feed(""), stream.decision.n_deltas) == ("", 20)


def test_the_end_reads_what_waits(engine: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """`finish` needs no other call before it; behind a stop nothing waits."""
    guard = Guard(engine, tokenizer)
    stream = guard.open_stream("Hi")
    n_calls = len(engine.fed)
    assert feed(stream, WORDS, [True]) == "".join(WORDS)
    assert len(engine.fed) == n_calls + 1
    stopped = guard.open_stream("Hi")
    assert feed(stopped, ["Well. ", "☠☠ no", "more"], [True]) == "Well. "
    assert stopped.is_stopped
    with pytest.raises(StreamClosed):
        stopped.feed("", more=True)


def test_no_more_than_a_bound_waits(engine: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """However much is at hand, a stop is seen at most so many characters behind its place, and a delta."""
    stream = Guard(engine, tokenizer).open_stream("Hi")
    n_fed = 0
    for word in ["☠☠ ", *WORDS * 9]:
        n_fed += len(word)
        stream.feed(word, more=True)
        if stream.is_stopped:
            break
    assert UNREAD_CHARS < n_fed <= UNREAD_CHARS + len(WORDS[-1])


def test_held_text_is_looked_at_after_every_delta(engine: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """A policy that stops at too much of it stops where it did."""
    guard = Guard(engine, tokenizer, policy=Policy(max_held_chars=8, on_held=Action.STOP))
    stream = guard.open_stream("Hi")
    assert feed(stream, ["Well, ", "un", "pro", "noun", "ceable", " is it"], [True]) == "Well,"
    assert stream.decision.reason is Reason.HELD


def test_what_needs_no_verdict_does_not_wait(engine: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """Optimistic mode lets text out at once; the verdicts follow together."""
    stream = Guard(engine, tokenizer, policy=Policy(release=ReleaseMode.OPTIMISTIC)).open_stream("Hi")
    n_calls = len(engine.fed)
    assert [stream.feed(word, more=True) for word in WORDS] == WORDS
    assert len(engine.fed) == n_calls
    stream.finish()
    assert stream.decision.n_tokens > 20


async def read_all(guard: Guard, arriving: asyncio.Queue[str]) -> str:
    """Read deltas until an empty one comes, as an adapter does; return what is released."""

    async def deltas() -> AsyncIterator[str]:
        while delta := await arriving.get():
            yield delta

    stream = await guard.aopen_stream("Hi")
    async with Ahead(deltas()) as arrivals:
        released = [await stream.afeed(delta, more=more) async for delta, more in arrivals]
    return "".join(released) + await stream.afinish()


async def test_what_arrives_during_a_call_is_read_in_the_next_one(tokenizer: GuardTokenizer) -> None:
    """Twenty deltas come while the engine reads the first: one call reads them all."""
    engine = GatedEngine(HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0))
    arriving: asyncio.Queue[str] = asyncio.Queue()
    reading = asyncio.create_task(read_all(Guard(engine, tokenizer), arriving))
    await asyncio.to_thread(engine.let_run)  # reads the context
    await arriving.put("First of all: ")
    await asyncio.to_thread(engine.wait_for_step)
    for word in WORDS:
        await arriving.put(word)
    await asyncio.to_thread(engine.let_run)
    await asyncio.to_thread(engine.let_run)
    await arriving.put("")
    engine.open_up()
    assert await reading == "First of all: " + "".join(WORDS)
    _, (n_first,), (n_together,), (n_last,) = engine.batches
    assert n_together > 20 > n_first > n_last

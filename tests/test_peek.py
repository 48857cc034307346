"""Peeking: what the decision would be if the answer ended here, for callers who see it grow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine
from guardrail.errors import EngineError, StreamError
from guardrail.guard import Guard
from guardrail.records import MemorySink
from guardrail.testing import FailingEngine, MarkerEngine, raising
from tests.counting import CountingEngine
from tests.strategies import chunk_sizes, cuts, texts
from tests.test_laws import guard_for


@pytest.mark.parametrize("name", ["fake", "onnx-fp32"])
@given(text=texts(), sizes=chunk_sizes, thinking=st.booleans())
def test_a_peek_tells_what_the_answer_would_come_to_and_changes_nothing(
    engines: dict[str, Engine], tokenizer: GuardTokenizer, name: str, text: str, sizes: list[int], thinking: bool
) -> None:
    """After every delta the peek is the decision on the text so far; the end is that of a stream never peeked into."""
    guard = guard_for(engines, tokenizer, name)
    with guard.open_stream("Hi") as stream:
        fed = released = ""
        for piece in cuts(text, sizes):
            released += stream.feed(piece, thinking=thinking)
            fed += piece
            peeked = stream.peek()
            with guard.open_stream("Hi") as whole:
                shown = whole.feed(fed, thinking=thinking) + whole.finish()
            assert (peeked.action, peeked.stop_offset) == (whole.decision.action, whole.decision.stop_offset)
            if not stream.is_stopped:
                assert peeked.released_chars == len(shown)
                assert [(t.start, t.end, t.risk) for t in peeked.tokens] == [
                    (t.start, t.end, t.risk) for t in whole.verdicts
                ]
        released += stream.finish()
    with guard.open_stream("Hi") as plain:
        expected = "".join(plain.feed(piece, thinking=thinking) for piece in cuts(text, sizes)) + plain.finish()
    assert released == expected
    assert stream.decision.stop_offset == plain.decision.stop_offset


def test_peeks_at_a_growing_answer_read_its_tokens_about_once(tokenizer: GuardTokenizer) -> None:
    """Only the tail that later text changes is read again."""
    engine = CountingEngine(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}))
    words = ["Bread ", "needs ", "flour ", "and ", "water ", "and ", "salt. "] * 20
    with Guard(engine, tokenizer, kept_bytes=0).open_stream("Hi") as stream:
        n_before = engine.n_read
        for word in words:
            stream.feed(word)
            stream.peek()
        stream.finish()
    assert engine.n_read - n_before <= 1.5 * stream.decision.n_tokens + len(words)


def test_a_peek_records_nothing_and_releases_nothing(tokenizer: GuardTokenizer) -> None:
    """The tail stays held, though the peek has read it."""
    sink = MemorySink()
    guard = Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer, policy="strict", sinks=[sink])
    with guard.open_stream("Hi") as stream:
        released = stream.feed("to ☠")
        peeked = stream.peek()
        assert (peeked.stopped, peeked.stop_offset) == (True, 3)
        assert not stream.is_stopped
        assert not sink.decisions
        assert "☠" not in released
        assert "☠" not in stream.finish()
    assert [decision.stop_offset for decision in sink.decisions] == [3]


def test_a_peek_whose_engine_fails_is_closed_by_policy_and_the_stream_goes_on(tokenizer: GuardTokenizer) -> None:
    """A failed peek is a failure in its decision; nothing of it stays."""
    inner = MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")})
    engine = FailingEngine(inner, at_step=2, breakage=raising(EngineError("broken")))
    with Guard(engine, tokenizer, kept_bytes=0).open_stream("Hi") as stream:
        stream.feed("bread")
        peeked = stream.peek()
        assert peeked.stopped
        assert peeked.failure is not None
        assert not stream.is_stopped


def test_text_that_waits_unread_cannot_be_peeked_past(tokenizer: GuardTokenizer) -> None:
    """It would be released by nobody: a caller's mistake."""
    guard = Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer)
    with guard.open_stream("Hi") as stream:
        stream.feed("bread and water ", more=True)
        with pytest.raises(StreamError, match="waits unread"):
            stream.peek()
        assert stream.feed("").startswith("bread and")


def test_a_stream_that_has_ended_peeks_at_its_decision(tokenizer: GuardTokenizer) -> None:
    """What is decided stays decided."""
    guard = Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer)
    with guard.open_stream("Hi") as stream:
        stream.feed("☠ ☠ ☠")
        assert stream.peek() == stream.decision

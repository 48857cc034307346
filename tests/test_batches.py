"""Many texts judged side by side: the decisions of one by one, and the same numbers every time."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail import Check, ConversationError, Decision, Guard, Reason
from guardrail.engines.base import Feed, Logits
from guardrail.errors import EngineError
from guardrail.records import MemorySink, Record
from guardrail.testing import EngineAround, MarkerEngine, default_tokenizer

TOKENIZER = default_tokenizer()
TEXTS = st.text("ab ☠☢é\n", max_size=40)
CHECKS = st.builds(Check, TEXTS, st.none() | TEXTS)


class CountingEngine(EngineAround):
    """Remembers how many tokens of how many texts each call read, and fails calls with a token count of its list."""

    def __init__(self, *, breaks: Sequence[Any] = ()) -> None:
        super().__init__(MarkerEngine(TOKENIZER, {"☠": ("Unsafe", "Violent"), "☢": ("Controversial", "Violent")}))
        self.calls: list[list[int]] = []
        self.breaks = tuple(breaks)

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Step, unless a session of `breaks` takes part."""
        self.calls.append([len(feed.ids) for feed in feeds])
        if any(TOKENIZER.decode(feed.ids).count(word) for feed in feeds for word in self.breaks):
            raise EngineError("broken")
        return super().step(feeds)


def told(decision: Decision) -> dict[str, Any]:
    """All of a decision but when it was made and what it is called."""
    record = Record.of(decision, tokens=True).model_dump()
    return {name: value for name, value in record.items() if name not in ("id", "stream_id", "time", "latency_ms")}


def guard_on(engine: CountingEngine, sink: MemorySink | None = None) -> Guard:
    """A guard that keeps nothing between texts."""
    return Guard(engine, TOKENIZER, sinks=[sink] if sink else [], kept_bytes=0)


@given(st.lists(CHECKS, max_size=6), st.integers(1, 5), st.integers(1, 60))
def test_many_get_the_decisions_of_one_by_one(checks: list[Check], at_once: int, call_tokens: int) -> None:
    """In their order, however many share a call."""
    guard = guard_on(CountingEngine())
    many = list(guard.check_many(checks, at_once=at_once, call_tokens=call_tokens))
    alone = [
        guard.check_prompt(check.conversation)
        if check.answer is None
        else guard.check_response(check.conversation, check.answer)
        for check in checks
    ]
    assert [told(decision) for decision in many] == [told(decision) for decision in alone]


def test_texts_share_calls_up_to_their_tokens() -> None:
    """Several short texts are read in one call; no call that is shared is longer than asked for."""
    engine = CountingEngine()
    list(guard_on(engine).check_many([Check("a b a b")] * 20, at_once=8, call_tokens=40))
    assert sum(len(call) for call in engine.calls) == 20
    assert len(engine.calls) < 12
    assert all(sum(call) <= 40 for call in engine.calls)


def test_no_more_are_under_way_than_asked_for() -> None:
    """Checks are taken as they are needed, so that a data set of any size fits."""
    taken = 0

    def checks() -> Iterator[Check]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield Check("a b")

    decisions = guard_on(CountingEngine()).check_many(checks(), at_once=4)
    next(decisions)
    assert taken <= 8


def test_a_text_that_fails_costs_no_other() -> None:
    """A call that raises is made again for each alone; the one that fails is stopped, and recorded as a failure."""
    sink = MemorySink()
    checks = [Check("good one"), Check("the zebra"), Check("good two"), Check("ask", "a zebra")]
    decisions = list(guard_on(CountingEngine(breaks=["zebra"]), sink).check_many(checks))
    assert [decision.reason for decision in decisions] == [Reason.CLEAR, Reason.FAILURE, Reason.CLEAR, Reason.FAILURE]
    assert [decision.stopped for decision in decisions] == [False, True, False, True]
    assert len(sink.decisions) == 4


def test_leaving_early_gives_up_what_is_under_way() -> None:
    """Whoever stops taking decisions leaves no text open: each is recorded as interrupted, and stopped."""
    sink = MemorySink()
    decisions = guard_on(CountingEngine(), sink).check_many([Check("a"), Check("b" * 200), Check("c", "d" * 200)] * 3)
    next(decisions)
    n_decided = len(sink.decisions)
    decisions.close()  # type: ignore[attr-defined]  # it is a generator
    assert n_decided < len(sink.decisions) <= 9
    assert all(decision.reason is Reason.FAILURE for decision in list(sink.decisions)[n_decided:])


def test_messages_that_cannot_be_read_are_the_callers_error() -> None:
    """Nothing is judged in their place."""
    with pytest.raises(ConversationError):
        list(guard_on(CountingEngine()).check_many([Check([{"role": "system", "content": "x"}])]))

"""Whole turns judged, one or many side by side: the decisions of one by one, and the same numbers every time."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail import Action, Check, ConversationError, Decision, Guard, Message, Policy, Reason, Role, ToolCall
from guardrail.decision import Direction
from guardrail.engines.base import Feed, Logits
from guardrail.errors import EngineError
from guardrail.policy import ReleaseMode
from guardrail.records import MemorySink, Privacy, Record
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
    record = Record.of(decision, privacy=Privacy(tokens=True)).model_dump()
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
        guard.check_response(check.conversation, check.answer)
        if isinstance(check.answer, str)
        else guard.check_prompt(check.conversation)
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


IMAGE = ("image_url",)
RISKY = '{"cmd": "☠ ☠"}'


def turn(text: str, reasoning: str | None = None, arguments: str | None = None, *, image: bool = False) -> Message:
    """An assistant's turn."""
    calls = (ToolCall("look", "{}"), ToolCall("shell", arguments)) if arguments else ()
    return Message(Role.ASSISTANT, text, reasoning, calls, IMAGE if image else ())


@pytest.mark.parametrize(
    ("last", "action", "reason", "direction"),
    [
        (turn("b"), Action.ALLOW, Reason.CLEAR, Direction.RESPONSE),
        (turn("", "a ☠ ☠"), Action.STOP, Reason.VERDICT, Direction.RESPONSE),
        (turn("b ☠ ☠", None, "{}"), Action.STOP, Reason.VERDICT, Direction.RESPONSE),
        (turn("b", "a", RISKY), Action.STOP, Reason.VERDICT, Direction.TOOL_CALL),
        (turn("", image=True), Action.FLAG, Reason.UNREADABLE, Direction.RESPONSE),
        (turn("b ☠ ☠", image=True), Action.STOP, Reason.VERDICT, Direction.RESPONSE),
        (turn("", None, RISKY, image=True), Action.STOP, Reason.VERDICT, Direction.TOOL_CALL),
        (Message(Role.USER, "☠"), Action.STOP, Reason.VERDICT, Direction.PROMPT),
        (Message(Role.TOOL, "b"), Action.ALLOW, Reason.CLEAR, Direction.PROMPT),
    ],
)
async def test_the_last_turn_is_judged_with_all_that_it_holds(
    last: Message, action: Action, reason: Reason, direction: Direction
) -> None:
    """Reasoning, text, every call and what cannot be read: the hardest decision, however it is asked for."""
    guard = guard_on(CountingEngine())
    before = (Message(Role.USER, "q"),)
    decision = guard.check_turn([*before, last])
    assert (decision.action, decision.reason, decision.direction) == (action, reason, direction)
    assert told(await guard.acheck_turn([*before, last])) == told(decision)
    if last.role is Role.ASSISTANT:
        (among_many,) = guard.check_many([Check(before, last)])
        assert told(among_many) == told(decision)


def test_every_part_of_a_turn_has_its_record() -> None:
    """The answer's says what could not be read, and each call has its own."""
    sink = MemorySink()
    guard_on(CountingEngine(), sink).check_turn([Message(Role.USER, "q"), turn("b", "a", RISKY, image=True)])
    assert [(one.tool, one.action, one.unreadable) for one in sink.decisions] == [
        (None, Action.FLAG, IMAGE), ("look", Action.ALLOW, ()), ("shell", Action.STOP, ()),
    ]  # fmt: skip


@pytest.mark.parametrize("release", ReleaseMode)
@pytest.mark.parametrize("asked", [Action.ALLOW, Action.FLAG, Action.STOP])
def test_the_policy_says_what_becomes_of_parts_of_an_answer_that_cannot_be_read(
    asked: Action, release: ReleaseMode
) -> None:
    """Whatever it says they are recorded; at a stop nothing of the turn passes, its reasoning neither."""
    guard = guard_on(CountingEngine()).with_policy(replace(Policy(), unreadable=asked, release=release))
    decision = guard.check_turn([Message(Role.USER, "q"), turn("b b", "a", image=True)])
    assert (decision.action, decision.unreadable) == (asked, IMAGE)
    assert decision.reason is (Reason.CLEAR if asked is Action.ALLOW else Reason.UNREADABLE)
    assert decision.released_chars == (0 if asked is Action.STOP else 4)
    assert decision.released_chars + decision.withheld_chars == 4
    assert decision.stop_offset == (0 if asked is Action.STOP else None)

"""Tool calls under moderation: what is read of them, what the policy's rules do, and the laws."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail import (
    Action,
    Direction,
    Guard,
    Message,
    Policy,
    Reason,
    ReleaseMode,
    RiskLevel,
    Role,
    Rules,
    StreamClosed,
    ToolCall,
    ToolRule,
    ToolRules,
    Trust,
)
from guardrail.conversation import EMPTY_THINKING, render
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Feed, Logits
from guardrail.policy import CategoryRule
from guardrail.records import MemorySink
from guardrail.testing import FailingEngine, HashEngine, MarkerEngine, raising
from tests.strategies import chunk_sizes, cuts, texts

ASKING = ToolRules(controversial=Action.ASK)


@pytest.fixture
def engine(tokenizer: GuardTokenizer) -> MarkerEngine:
    """Stops at one marker, doubts another."""
    return MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent"), "☢": ("Controversial", "Unethical Acts")})


@pytest.fixture
def sink() -> MemorySink:
    """Where the tests' guards record."""
    return MemorySink()


def guard_with(engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink, **changes: object) -> Guard:
    return Guard(engine, tokenizer, policy=Policy(**changes), sinks=[sink])  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize(
    "arguments", ['{"command": "rm ☠ -rf"}', r'{"command": "rm \u2620 -rf"}', '{"☠ it": 1}', '{"deep": [{"a": "☠ x"}]}']
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 40])
def test_a_risky_call_is_stopped_however_it_is_written_and_cut(
    engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink, arguments: str, size: int
) -> None:
    """In a value, a key, nested, behind escapes: whole or in pieces, sync or async, one and the same decision."""
    guard = guard_with(engine, tokenizer, sink)
    whole = guard.check_tool_call("hi", ToolCall("shell", arguments), conversation_id="c")
    stream = guard.open_tool_call("hi", "shell")
    for piece in cuts(arguments, [size]):
        stream.feed(piece)
    pieces = stream.finish()
    later = asyncio.run(guard.acheck_tool_call("hi", ToolCall("shell", arguments)))
    for decision in (whole, pieces, later):
        assert (decision.action, decision.direction, decision.tool) == (Action.STOP, Direction.TOOL_CALL, "shell")
        assert decision.category == "Violent"
        assert decision.stop_offset == whole.stop_offset
    assert [r.tool for r in sink.decisions] == ["shell"] * 3
    assert sink.decisions[0].conversation_id == "c"


def test_a_risky_name_is_stopped(engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink) -> None:
    """The name is read like the arguments."""
    assert guard_with(engine, tokenizer, sink).check_tool_call("hi", ToolCall("☠ tool", "{}")).stopped


def test_a_call_that_streams_is_stopped_before_it_ends(
    engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink
) -> None:
    """The LLM can be closed as soon as the run of risky tokens is long enough; the rest is never read."""
    stream = guard_with(engine, tokenizer, sink).open_tool_call("hi", "shell")
    for piece in cuts('{"command": "rm ☠ one two three four five six seven"}', [2]):
        stream.feed(piece)
        if stream.is_stopped:
            break
    assert "four" not in piece
    assert len(sink.decisions) == 1
    assert stream.finish() == stream.decision
    with pytest.raises(StreamClosed):
        stream.feed("more")


@pytest.mark.parametrize(
    ("tools", "arguments", "action", "reason"),
    [
        (ToolRules(), '{"a": "b"}', Action.ALLOW, Reason.CLEAR),
        (ToolRules(), '{"a": "☢ b"}', Action.STOP, Reason.VERDICT),
        (ASKING, '{"a": "☢ b"}', Action.ASK, Reason.VERDICT),
        (ASKING, '{"a": "☢ b ☠ c"}', Action.ASK, Reason.VERDICT),
        (ASKING, '{"a": "☠ b"}', Action.STOP, Reason.VERDICT),
        (ToolRules(controversial=Action.FLAG), '{"a": "☢ b"}', Action.FLAG, Reason.VERDICT),
        (ToolRules(ToolRule(call=Trust.ASK)), '{"a": "b"}', Action.ASK, Reason.RULE),
        (ToolRules(ToolRule(call=Trust.ASK)), '{"a": "☠ b"}', Action.STOP, Reason.VERDICT),
        (ToolRules(names={"sh*": ToolRule(call=Trust.TRUSTED)}), '{"a": "☠ b"}', Action.ALLOW, Reason.RULE),
        (ToolRules(names={"other": ToolRule(call=Trust.TRUSTED)}), '{"a": "☠ b"}', Action.STOP, Reason.VERDICT),
    ],
)
def test_the_policys_rules_for_tools_decide(
    engine: MarkerEngine,
    tokenizer: GuardTokenizer,
    sink: MemorySink,
    tools: ToolRules,
    arguments: str,
    action: Action,
    reason: Reason,
) -> None:
    """Read, trusted, always ask; Controversial as the tools' section says; a stop beats an ask."""
    guard = guard_with(engine, tokenizer, sink, tools=tools)
    decision = guard.check_tool_call("hi", ToolCall("shell", arguments))
    assert (decision.action, decision.reason) == (action, reason)
    assert decision.asks == (action is Action.ASK)


@pytest.mark.parametrize(
    ("of_answers", "of_calls", "action"),
    [
        (CategoryRule(controversial=Action.ALLOW), Action.ASK, Action.ASK),
        (CategoryRule(controversial=Action.STOP), Action.FLAG, Action.STOP),
        (CategoryRule(controversial=Action.ALLOW, unsafe=Action.ALLOW), Action.ASK, Action.ALLOW),
    ],
)
def test_what_answers_may_say_is_not_what_calls_may_do(
    engine: MarkerEngine,
    tokenizer: GuardTokenizer,
    sink: MemorySink,
    of_answers: CategoryRule,
    of_calls: Action,
    action: Action,
) -> None:
    """A category that is let pass in answers still waits for a person in calls; one that is stopped stays stopped."""
    response = Rules(debounce=2, categories={"Unethical Acts": of_answers})
    guard = guard_with(engine, tokenizer, sink, response=response, tools=ToolRules(controversial=of_calls))
    assert guard.check_tool_call("hi", ToolCall("shell", '{"a": "☢ b"}')).action is action


def test_a_trusted_call_is_not_read_and_says_so(
    engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink
) -> None:
    """No session is opened, no token judged; the record has the characters that passed unjudged."""
    broken = FailingEngine(engine, at_step=0, breakage=raising(RuntimeError()))
    tools = ToolRules(names={"clock": ToolRule(call=Trust.TRUSTED)})
    guard = Guard(broken, tokenizer, policy=Policy(tools=tools), sinks=[sink])
    decision = guard.check_tool_call("hi", ToolCall("clock", "{}"))
    assert (decision.n_tokens, decision.risk, broken.n_steps) == (0, None, 0)
    assert decision.unjudged_chars == decision.released_chars > 0


def test_in_shadow_mode_nobody_is_asked(engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink) -> None:
    """The record says what would have been done."""
    guard = guard_with(engine, tokenizer, sink, tools=ASKING, enforce=False)
    decision = guard.check_tool_call("hi", ToolCall("shell", '{"a": "☢ b"}'))
    assert (decision.action, decision.would_action) == (Action.FLAG, Action.ASK)


@pytest.mark.parametrize("on_failure", [Action.ALLOW, Action.FLAG])
def test_a_call_that_a_person_must_see_waits_even_if_nothing_can_read_it(
    engine: MarkerEngine, tokenizer: GuardTokenizer, on_failure: Action
) -> None:
    """A failure that the policy lets pass takes no rule of the policy away."""
    broken = FailingEngine(engine, at_step=0, breakage=raising(RuntimeError()))
    policy = Policy(on_failure=on_failure, tools=ToolRules(ToolRule(call=Trust.ASK)))
    decision = Guard(broken, tokenizer, policy=policy).check_tool_call("hi", ToolCall("pay", "{}"))
    assert (decision.action, decision.reason) == (Action.ASK, Reason.FAILURE)


@pytest.mark.parametrize("release", ReleaseMode)
def test_nothing_of_a_stopped_call_counts_as_released(
    engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink, release: ReleaseMode
) -> None:
    """A call leaves whole or not at all, however the policy releases text."""
    guard = guard_with(engine, tokenizer, sink, release=release)
    decision = guard.check_tool_call("hi", ToolCall("shell", '{"command": "one two three ☠ four five"}'))
    assert decision.stopped
    assert (decision.released_chars, decision.leaked_chars) == (0, 0)
    assert decision.withheld_chars > 0


@pytest.mark.parametrize(("on_failure", "action"), [(Action.STOP, Action.STOP), (Action.ALLOW, Action.ALLOW)])
def test_a_failing_engine_closes_unless_the_policy_says_otherwise(
    engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink, on_failure: Action, action: Action
) -> None:
    """Recorded as a failure, never as a verdict."""
    broken = FailingEngine(engine, at_step=0, breakage=raising(RuntimeError()))
    guard = Guard(broken, tokenizer, policy=Policy(on_failure=on_failure), sinks=[sink])
    decision = guard.check_tool_call("hi", ToolCall("shell", "{}"))
    assert (decision.action, decision.reason) == (action, Reason.FAILURE)
    assert sink.decisions[0].failure


def test_a_call_left_in_the_middle_is_recorded(
    engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink
) -> None:
    """As abandoned."""
    with guard_with(engine, tokenizer, sink).open_tool_call("hi", "shell") as stream:
        stream.feed('{"a": ')
    assert sink.decisions[0].reason is Reason.ABANDONED


class Remembering(HashEngine):
    """Keeps the last ids it was fed."""

    seen: tuple[int, ...] = ()

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        logits = super().step(feeds)
        self.seen = tuple(feeds[0].session.ids)  # type: ignore[attr-defined]  # fake sessions remember
        return logits


@pytest.mark.parametrize("text", ["", "I look it up.", "\nwith newlines\n"])
@pytest.mark.parametrize("reasoning", [None, "should I?"])
@pytest.mark.parametrize("earlier", [(), (ToolCall("first", '{"n": 1}'),)])
def test_a_call_is_read_in_the_form_of_the_template(
    tokenizer: GuardTokenizer, text: str, reasoning: str | None, earlier: tuple[ToolCall, ...]
) -> None:
    """The ids are those of the whole assistant turn with its calls; without reasoning an empty think block stands."""
    engine = Remembering(vocab_size=tokenizer.vocab_size, risky_share=0)
    guard = Guard(engine, tokenizer)
    call = ToolCall("look_up", '{"word": "bread", "deep": {"a": [1, 2]}}')
    turn = Message(Role.ASSISTANT, text, reasoning, earlier)
    guard.check_tool_call([Message(Role.USER, "hi"), turn], call)
    whole = Message(Role.ASSISTANT, text.lstrip("\n"), reasoning, (*earlier, call))
    segments = render([Message(Role.USER, "hi"), whole])
    if reasoning is None:  # history is rendered without the empty block that an answer under judgement has
        at = next(i for i, s in enumerate(segments) if s.text.startswith("assistant"))
        segments[at + 1 : at + 1] = EMPTY_THINKING
    ids = tokenizer.encode_segments(segments)
    assert list(engine.seen) == ids[: len(engine.seen)]
    assert len(ids) - len(engine.seen) == 3  # </tool_call>, <|im_end|>, newline


@given(value=texts(), sizes=chunk_sizes, seed=st.integers(0, 5))
def test_cutting_changes_no_verdict_of_a_call(
    tokenizer: GuardTokenizer, value: str, sizes: list[int], seed: int
) -> None:
    """Law 3 for calls, over pseudo-random verdicts, escapes and all."""
    guard = Guard(HashEngine(vocab_size=tokenizer.vocab_size, seed=seed), tokenizer)
    arguments = json.dumps({"value": value}, ensure_ascii=seed % 2 == 0)
    whole = guard.check_tool_call("hi", ToolCall("t", arguments))
    with guard.open_tool_call("hi", "t") as stream:
        for piece in cuts(arguments, sizes):
            stream.feed(piece)
        decision = stream.finish()
    found = [(d.action, d.stop_offset, d.category, [t.risk for t in d.tokens]) for d in (whole, decision)]
    assert found[0] == found[1]


def test_prompts_and_answers_cannot_ask() -> None:
    """Only a tool call can wait for a person."""
    for changes in ({"prompt": Rules(controversial=Action.ASK)}, {"on_failure": "ask"}, {"unreadable": "ask"}):
        with pytest.raises(Exception, match=r"\[tools\]"):
            Policy(**changes)


def test_levels_of_the_two_markers(engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink) -> None:
    """The tests' premise: one marker is Controversial, the other Unsafe."""
    guard = guard_with(engine, tokenizer, sink)
    assert [guard.judge_prompt(m + " x").risk for m in "☢☠"] == [RiskLevel.CONTROVERSIAL, RiskLevel.UNSAFE]

"""Replaying a record: under its own policy what was decided, under another one what can be known."""

import json
from asyncio import CancelledError
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.audit.replay import Gap, Recorded, Replayed, replay, unpacked
from guardrail.conversation import ToolCall
from guardrail.decision import Decision, Reason
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine
from guardrail.errors import ContextOverflow, EngineTimeout
from guardrail.guard import Guard
from guardrail.normalise_rules import NormaliseRules
from guardrail.policy import Policy, ReleaseMode, Rules
from guardrail.policy_file import READY_POLICIES, load_policy
from guardrail.records import MemorySink, Privacy, Record, open_sink, read_records
from guardrail.repair import Attempt
from guardrail.testing import FailingEngine, HashEngine, MarkerEngine, raising
from guardrail.tool_rules import ToolRule, ToolRules, Trust
from tests.audit.policies import policies
from tests.strategies import chunk_sizes, cuts, texts

STORED = Privacy()
ENDINGS = ("finished", "closed", "failed", "overflowed", "interrupted")
BREAKAGES = {
    "failed": EngineTimeout("no answer"), "overflowed": ContextOverflow("too long"), "interrupted": CancelledError(),
}  # fmt: skip


def recorded(decision: Decision) -> Recorded:
    """A decision as it comes back from a store."""
    found = unpacked(Record.model_validate_json(Record.of(decision, privacy=STORED).to_json()))
    assert isinstance(found, Recorded)
    return found


def decided(guard: Guard, text: str, sizes: list[int], ending: str, what: str) -> Decision:
    """One decision of a guard, on a text of some kind that comes in pieces and ends somehow."""
    sink = MemorySink()
    guard = guard.with_policy(guard.policy, sinks=[sink])
    with suppress(CancelledError):
        if what == "prompt":
            guard.check_prompt([{"role": "system", "content": "Be good."}, {"role": "user", "content": text or "?"}])
        elif what == "document":
            guard.check_documents([text])
        elif what in ("tool_result", "image"):
            kinds = ["image"] if what == "image" else []
            guard.check_tool_result("hi", text, tool="calendar", unreadable=kinds)
        else:
            opened = guard.open_stream("hi") if what == "response" else guard.open_tool_call("hi", "shell")
            with opened as stream:
                for piece in cuts(text, sizes):
                    stream.feed(piece)
                if ending != "closed":
                    stream.finish()
    return sink.decisions[-1]


def guard_of(engine: Engine, tokenizer: GuardTokenizer, policy: Policy, ending: str, at_step: int) -> Guard:
    """A guard whose engine breaks as the ending asks for."""
    broken = BREAKAGES.get(ending)
    inner = FailingEngine(engine, at_step=at_step, breakage=raising(broken)) if broken else engine
    return Guard(inner, tokenizer, policy=policy, kept_bytes=0)


kinds = st.sampled_from(["prompt", "response", "response", "tool_call", "tool_result", "document", "image"])


@given(policies(), texts(), chunk_sizes, st.sampled_from(ENDINGS), st.integers(0, 8), kinds, st.integers(0, 3))
def test_a_record_under_its_own_policy_gives_its_own_decision(
    tokenizer: GuardTokenizer, policy: Policy, text: str, sizes: list[int], ending: str, at_step: int, what: str,
    seed: int,
) -> None:  # fmt: skip
    """Action, reason, risk, category, offset and released characters, whatever the policy, the text and its end."""
    engine = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.25, seed=seed)
    guard = guard_of(engine, tokenizer, policy, ending, at_step)
    decision = decided(guard, text, sizes, ending, what)
    assert without_unknown(replay(recorded(decision), policy)) == of_decision(decision)


def of_decision(decision: Decision) -> Replayed:
    """What a replay has to come to."""
    return Replayed.as_recorded(Record.of(decision))


def without_unknown(found: Replayed | Gap) -> Replayed:
    """What was replayed, without from where on it is unknown."""
    assert isinstance(found, Replayed), found
    return replace(found, unknown_from=None)


@pytest.mark.parametrize("name", ["records.jsonl", "records.db"])
def test_stored_records_give_their_own_decisions(tokenizer: GuardTokenizer, tmp_path: Path, name: str) -> None:
    """Through a file of JSON lines and through SQLite, for every ready policy and every direction."""
    store, memory = tmp_path / name, MemorySink()
    made: dict[str, Policy] = {}
    with open_sink(store) as sink:
        for policy in map(load_policy, READY_POLICIES):
            made[policy.sha256] = policy
            engine = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.2)
            guard = Guard(engine, tokenizer, policy=policy, sinks=[sink, memory])
            for number in range(8):
                text = f"{number} eggs, flour and water; then wait and bake it all for an hour or two."
                guard.check_prompt(text)
                guard.check_response("hi", text)
                guard.check_tool_call("hi", ToolCall("shell", json.dumps({"do": text})))
                guard.check_tool_result("hi", text, tool="shell")
    records = {record.id: record for record in read_records(store)}
    assert len(records) == len(memory.decisions) == 128
    for decision in memory.decisions:
        found = unpacked(records[decision.id])
        assert isinstance(found, Recorded)
        assert without_unknown(replay(found, made[decision.identity.policy_sha256])) == of_decision(decision)


TEXT = "some words \u2620 and more words, quite a few of them"


@pytest.fixture
def marked(tokenizer: GuardTokenizer) -> Guard:
    """A guard that finds everything behind a skull Unsafe, and behind a spade Controversial."""
    markers = {"\u2620": ("Unsafe", "Violent"), "\u2660": ("Controversial", "PII")}
    return Guard(MarkerEngine(tokenizer, markers), tokenizer)


def judged(guard: Guard, policy: Policy, text: str = TEXT) -> Recorded:
    """The record of an answer."""
    return recorded(guard.with_policy(policy).check_response("hi", text))


def replayed(found: Recorded, policy: Policy) -> Replayed:
    """What a policy makes of it."""
    after = replay(found, policy)
    assert isinstance(after, Replayed)
    return after


def test_behind_a_real_stop_nothing_is_known(marked: Guard) -> None:
    """A looser policy would have gone on, at least to where the verdicts end; from there on it says so."""
    found = judged(marked, load_policy("balanced"))
    assert found.record.stop_offset == 11
    looser = replace(load_policy("balanced"), response=Rules(Action.ALLOW, Action.FLAG))
    after = replayed(found, looser)
    assert (after.action, after.stop_offset) == (Action.FLAG, None)
    assert after.unknown_from == after.released_chars
    assert 11 < (after.unknown_from or 0) < len(TEXT)


def test_shadow_records_know_the_whole_answer(marked: Guard) -> None:
    """Under every policy: that is why one records in shadow mode first."""
    found = judged(marked, load_policy("shadow"))
    for name in READY_POLICIES:
        policy = load_policy(name)
        really = marked.with_policy(policy).check_response("hi", TEXT)
        assert replayed(found, policy) == of_decision(really)


@given(policies(), texts(), st.integers(0, 3))
def test_shadow_records_replay_what_any_policy_really_does(
    tokenizer: GuardTokenizer, policy: Policy, text: str, seed: int
) -> None:
    """Whole answers: what the replay tells is what a guard of that policy decides, but for rules that hold or read
    differently.
    """
    policy = replace(policy, max_held_chars=None, normalise=NormaliseRules())
    engine = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.25, seed=seed)
    shadow = Guard(engine, tokenizer, policy="shadow").check_response("hi", text)
    really = Guard(engine, tokenizer, policy=policy).check_response("hi", text)
    after = replayed(recorded(shadow), policy)
    if after.released_chars is None:  # optimistic, and stopped on the way: that depends on how the text came
        after = replace(after, released_chars=really.released_chars)
    assert after == of_decision(really)


def test_what_an_optimistic_stop_had_let_out_is_not_known(marked: Guard) -> None:
    """It depends on the pieces in which the text came, of which records say nothing."""
    found = judged(marked, load_policy("shadow"))
    optimistic = replace(load_policy("balanced"), release=ReleaseMode.OPTIMISTIC)
    assert replayed(found, optimistic).released_chars is None


def test_a_failure_happens_again_where_it_happened(tokenizer: GuardTokenizer) -> None:
    """Fail closed and fail open, whatever was done then."""
    engine = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0)
    broken = FailingEngine(engine, at_step=1, breakage=raising(EngineTimeout("no answer")))
    stopped = judged(Guard(broken, tokenizer), load_policy("balanced"))
    assert stopped.record.reason is Reason.FAILURE
    opened = replayed(stopped, replace(load_policy("balanced"), on_failure=Action.FLAG))
    assert (opened.action, opened.reason) == (Action.FLAG, Reason.FAILURE)
    assert opened.released_chars == opened.unknown_from == len(TEXT)


def test_a_text_beyond_the_context_is_stopped_by_every_policy(tokenizer: GuardTokenizer) -> None:
    """Whatever `on_failure` says."""
    engine = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0)
    broken = FailingEngine(engine, at_step=1, breakage=raising(ContextOverflow("too long")))
    found = judged(Guard(broken, tokenizer), load_policy("shadow"))
    after = replayed(found, replace(load_policy("balanced"), on_failure=Action.ALLOW))
    assert (after.action, after.reason) == (Action.STOP, Reason.TOO_LONG)


def test_a_trusted_call_was_not_read(marked: Guard) -> None:
    """Trusting it again is known; reading it is not."""
    trusting = replace(Policy(), tools=ToolRules(ToolRule(Trust.TRUSTED, Trust.TRUSTED)))
    guard = marked.with_policy(trusting)
    call = recorded(guard.check_tool_call("hi", ToolCall("shell", '{"x": 1}')))
    result = recorded(guard.check_tool_result("hi", "text", tool="shell"))
    for found in (call, result):
        assert replay(found, Policy()) is Gap.NOT_READ
        assert replayed(found, trusting).reason is Reason.RULE


def test_records_without_positions_cannot_be_replayed(marked: Guard) -> None:
    """Those of old versions, and of sinks that keep none; those of which nothing was judged have none to miss."""
    decision = marked.check_response("hi", TEXT)
    assert unpacked(Record.of(decision)) is Gap.NO_POSITIONS
    empty = Record.of(marked.check_response("hi", ""))
    assert isinstance(unpacked(empty), Recorded)


@pytest.mark.parametrize("release", [ReleaseMode.TOKEN, ReleaseMode.ANSWER])
@pytest.mark.parametrize("behind", ["and quietly", "and \u2620 loud", "and \u2620"])
def test_a_repaired_answer_gives_its_own_decision(marked: Guard, release: ReleaseMode, behind: str) -> None:
    """What an earlier attempt had released is released, also where the next one is stopped at once, or given up."""
    policy, sink = replace(load_policy("balanced"), release=release), MemorySink()
    guard = marked.with_policy(policy, sinks=[sink])
    for ends in (True, False):
        with guard.open_stream("hi", attempt=Attempt((("some words ", False),), 1, 3)) as stream:
            stream.feed(behind + " more words")
            if ends:
                stream.finish()
        decision = sink.decisions[-1]
        assert decision.n_repairs == 1
        assert without_unknown(replay(recorded(decision), policy)) == of_decision(decision)


@pytest.mark.parametrize("name", ["balanced", "shadow"])
def test_what_an_interrupted_call_had_cleared_was_not_received(tokenizer: GuardTokenizer, name: str) -> None:
    """A call that reads several windows is interrupted behind the first: nothing of it counts as released."""
    engine = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0, max_context=128)
    broken = FailingEngine(engine, at_step=3, breakage=raising(CancelledError()))
    sink, policy = MemorySink(), replace(load_policy(name), release=ReleaseMode.TOKEN)
    with suppress(CancelledError), Guard(broken, tokenizer, policy=policy, sinks=[sink]).open_stream("hi") as stream:
        stream.feed("word " * 400)
    (decision,) = sink.decisions
    assert decision.n_tokens > 0
    assert decision.released_chars == 0
    assert without_unknown(replay(recorded(decision), policy)) == of_decision(decision)


@pytest.mark.parametrize("on_held", [Action.STOP, Action.FLAG])
@pytest.mark.parametrize("enforce", [True, False])
def test_an_endless_word_is_held_again(tokenizer: GuardTokenizer, on_held: Action, enforce: bool) -> None:
    """Where the policy holds at all; under one without a bound nobody knows how the answer went on."""
    policy = replace(Policy(), max_held_chars=20, on_held=on_held, enforce=enforce)
    sink, engine = MemorySink(), HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0)
    with Guard(engine, tokenizer, policy=policy, sinks=[sink]).open_stream("hi") as stream:
        for _ in range(40):
            stream.feed("a")
        stream.finish()
    found = recorded(sink.decisions[-1])
    assert found.record.reason is Reason.HELD
    assert without_unknown(replay(found, policy)) == of_decision(sink.decisions[-1])
    unbound = replayed(found, replace(policy, max_held_chars=None))
    assert unbound.reason is not Reason.HELD
    assert (unbound.unknown_from is None) == (on_held is Action.FLAG)

"""Repair instead of cut: what another attempt starts from, and what of it can ever be seen."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail import (
    Action,
    Attempt,
    Decision,
    Direction,
    Guard,
    OnStop,
    Policy,
    PolicyError,
    Reason,
    Rules,
    next_attempt,
)
from guardrail.encoding import GuardTokenizer
from guardrail.records import MemorySink
from guardrail.testing import FailingEngine, HashEngine, MarkerEngine, default_tokenizer, raising
from tests.strategies import chunk_sizes, cuts, texts

REPAIRING = Policy(on_stop=OnStop.REPAIR)


@pytest.fixture
def guard(tokenizer: GuardTokenizer) -> Guard:
    """Repairs at a marker."""
    return Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer, policy=REPAIRING)


def answer(guard: Guard, tries: list[str], *, size: int = 3) -> tuple[str, list[Decision]]:
    """Play a chain that repairs: each attempt is what the LLM says next; return what was seen, and the decisions."""
    seen = ""
    decisions: list[Decision] = []
    attempt: Attempt | None = None
    for text in tries:
        released = ""
        with guard.open_stream("hi", conversation_id="c", attempt=attempt) as stream:
            for piece in cuts(text, [size]):
                released += stream.feed(piece)
                if stream.is_stopped:
                    break
            else:
                released += stream.finish()
            decision = stream.decision
        seen += released
        decisions.append(decision)
        before = attempt.parts if attempt else ()
        attempt = next_attempt(guard.policy, decision, attempt, (*before, (released, False)))
        if attempt is None:
            break
    return seen, decisions


@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_an_answer_goes_on_behind_its_last_safe_point(guard: Guard, size: int) -> None:
    """The stopped attempts' text is never seen; the good attempt's is, right behind what had been released."""
    seen, decisions = answer(guard, ["I would take ☠ and mix", "a spoon of ☠ and", "a cup of tea."], size=size)
    assert seen == "I would take a spoon of a cup of tea."
    assert [d.action for d in decisions] == [Action.STOP, Action.STOP, Action.ALLOW]
    assert [d.n_repairs for d in decisions] == [0, 1, 2]
    assert 0 == decisions[0].n_repair_tokens < decisions[1].n_repair_tokens < decisions[2].n_repair_tokens


def test_attempts_are_bounded(guard: Guard) -> None:
    """After the policy's number of repairs the answer is refused."""
    _, decisions = answer(guard, ["a ☠ b c"] * 9)
    assert len(decisions) == 1 + guard.policy.max_repairs


def test_a_replay_is_judged_as_text_of_the_answer(guard: Guard) -> None:
    """Offsets of the repaired answer count from its beginning, and the record has all its characters."""
    _, decisions = answer(guard, ["I would take ☠ and mix", "nothing at all."])
    assert decisions[-1].released_chars == len("I would take nothing at all.")
    assert decisions[-1].n_deltas == 5


def test_what_an_earlier_attempt_released_stays_released_in_the_record(tokenizer: GuardTokenizer) -> None:
    """Text that turns risky with what follows it has left all the same: the record says so, and nobody tries again."""
    policy = Policy(on_stop=OnStop.REPAIR, response=Rules(debounce=1))
    guard = Guard(MarkerEngine(tokenizer, {"bomb": ("Unsafe", "Violent")}), tokenizer, policy=policy)
    attempt = Attempt((("The bo", False),), 1, 0)
    with guard.open_stream("hi", attempt=attempt) as stream:
        assert stream.feed("mb is here") + stream.finish() == ""
    decision = stream.decision
    assert decision.stopped
    assert (decision.released_chars, decision.withheld_chars) == (len("The bo"), len("mb is here"))
    assert decision.leaked_chars == len("The bo") - (decision.stop_offset or 0) > 0
    assert next_attempt(policy, decision, attempt, attempt.parts) is None


def test_an_interrupted_replay_takes_nothing_back(guard: Guard) -> None:
    """What earlier attempts released has been seen, also when the next one is interrupted as it begins."""
    sink = MemorySink()
    broken = FailingEngine(guard.engine, at_step=1, breakage=raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        Guard(broken, default_tokenizer(), policy=REPAIRING, sinks=[sink]).open_stream(
            "hi", attempt=Attempt((("It goes on and on, ", False),), 1, 0)
        )
    assert sink.decisions[0].released_chars == len("It goes on and on, ")


async def test_an_attempt_is_replayed_without_blocking_the_event_loop_too(guard: Guard) -> None:
    """Async streams give what sync ones give."""
    attempt = Attempt((("so it ", True), ("goes ", False)), 1, 4)
    with await guard.aopen_stream("hi", attempt=attempt) as stream:
        released = await stream.afeed("on.") + await stream.afinish()
    assert released == "on."
    assert (stream.decision.n_repairs, stream.decision.n_repair_tokens) == (1, 4)
    await asyncio.sleep(0)


def test_only_a_verdict_on_an_answer_is_repaired(tokenizer: GuardTokenizer) -> None:
    """A failure would fail again; a prompt and a call are no answers; other policies cut."""
    engine = MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")})
    broken = Guard(FailingEngine(engine, at_step=0, breakage=raising(RuntimeError())), tokenizer, policy=REPAIRING)
    failed = broken.check_response("hi", "text")
    assert (failed.action, failed.reason) == (Action.STOP, Reason.FAILURE)
    guard = Guard(engine, tokenizer, policy=REPAIRING)
    stopped = guard.check_response("hi", "a ☠ b c")
    prompt = guard.check_prompt("a ☠ b c")
    assert prompt.direction is Direction.PROMPT
    assert [next_attempt(REPAIRING, d, None, ()) for d in (failed, prompt)] == [None, None]
    assert next_attempt(REPAIRING, stopped, None, ()) == Attempt(
        (), 1, sum(t.end > 2 for t in stopped.tokens), "Violent"
    )
    assert next_attempt(Policy(), stopped, None, ()) is None


def test_the_policy_bounds_repairs_and_words_the_instruction() -> None:
    """At least one; the instruction names the category, in the policy's own words if it has some."""
    with pytest.raises(PolicyError, match="max_repairs"):
        Policy(max_repairs=0)
    own = Policy(messages={"repair": {"de": "Anders: {category}"}}, language="de")
    assert own.repair_message("Violent") == "Anders: Violent"
    assert "Violent" in Policy().repair_message("Violent")
    assert Policy().stop_message(None) != Policy().call_message(None) != Policy().result_message(None)


@given(tries=st.lists(texts(6), min_size=1, max_size=3), sizes=chunk_sizes, seed=st.integers(0, 9))
def test_what_is_seen_is_what_was_released_whatever_the_verdicts(
    tokenizer: GuardTokenizer, tries: list[str], sizes: list[int], seed: int
) -> None:
    """Law 1 over attempts: each adds a piece of its own text, and none that lies behind its stop."""
    guard = Guard(HashEngine(vocab_size=tokenizer.vocab_size, seed=seed, risky_share=0.2), tokenizer, policy=REPAIRING)
    attempt: Attempt | None = None
    for text in tries:
        released = ""
        with guard.open_stream("hi", attempt=attempt) as stream:
            n_before = attempt.n_chars if attempt else 0
            for piece in cuts(text, sizes):
                released += stream.feed(piece)
            released += stream.finish()
        decision = stream.decision
        assert text.startswith(released)
        assert len(released) == decision.released_chars - n_before
        if decision.stopped:
            assert decision.stop_offset is not None
            assert decision.leaked_chars == max(0, n_before - decision.stop_offset)
        before = attempt.parts if attempt else ()
        attempt = next_attempt(guard.policy, decision, attempt, (*before, (released, False)))
        if attempt is None:
            break

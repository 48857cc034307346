"""What changed between two decisions, what cannot be said, and the counts of many of them."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.audit.replay import Gap, Replayed
from guardrail.audit.replay_changes import Change, Compared, Comparison, change_of
from guardrail.audit.replay_summary import ALL, Summary
from guardrail.cascade_rules import CascadeRules
from guardrail.decision import Reason
from guardrail.encoding import GuardTokenizer
from guardrail.errors import ContextOverflow
from guardrail.guard import Guard
from guardrail.normalise_rules import NormaliseRules
from guardrail.policy import OnStop, Policy, TooLong
from guardrail.policy_file import load_policy
from guardrail.records import MemorySink, Positions, Privacy, Record
from guardrail.records.record import FailureRecord
from guardrail.taxonomy import PROMPT_LABELS, RiskLevel
from guardrail.testing import HashEngine
from guardrail.verdict import Verdict

STOP, ASK, FLAG, ALLOW = Action.STOP, Action.ASK, Action.FLAG, Action.ALLOW


def decision(action: Action, offset: int | None = None) -> Replayed:
    """A decision."""
    return Replayed(action, action, Reason.VERDICT, RiskLevel.UNSAFE, "Violent", offset, offset or 0)


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (decision(ALLOW), decision(ALLOW), Change.SAME),
        (decision(FLAG), decision(FLAG), Change.SAME),
        (decision(STOP, 4), decision(STOP, 4), Change.SAME),
        (decision(ALLOW), decision(STOP, 4), Change.NEWLY_STOPPED),
        (decision(ASK), decision(STOP, 4), Change.NEWLY_STOPPED),
        (decision(STOP, 4), decision(FLAG), Change.NO_LONGER_STOPPED),
        (decision(STOP, 4), decision(ASK), Change.NO_LONGER_STOPPED),
        (decision(STOP, 4), decision(STOP, 0), Change.STOPPED_EARLIER),
        (decision(STOP, 0), decision(STOP, 4), Change.STOPPED_LATER),
        (decision(FLAG), decision(ASK), Change.NEWLY_ASKED),
        (decision(ASK), decision(ALLOW), Change.NO_LONGER_ASKED),
        (decision(ALLOW), decision(FLAG), Change.NEWLY_FLAGGED),
        (decision(FLAG), decision(ALLOW), Change.NO_LONGER_FLAGGED),
    ],
)
def test_a_change_is_named_by_what_is_done(before: Replayed, after: Replayed, change: Change) -> None:
    """By the harder of both actions; two stops by where they are."""
    assert change_of(before, after) is change


@pytest.fixture(scope="module")
def traffic(tokenizer: GuardTokenizer) -> list[Record]:
    """Records of forty conversations, of every direction, made in shadow mode."""
    sink = MemorySink()
    engine = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.05)
    guard = Guard(engine, tokenizer, policy="shadow", sinks=[sink])
    for number in range(40):
        text = f"{number}: flour, water, salt and yeast; knead them, wait for an hour, and bake all of it."
        for part in range(3):
            guard.check_prompt(f"{text} {part}", conversation_id=f"c{number}")
            guard.check_response("hi", f"{text} {part}", conversation_id=f"c{number}")
        guard.check_tool_result("hi", text, tool="shell")
    return [Record.of(decision, privacy=Privacy()) for decision in sink.decisions]


def test_a_summary_counts_what_was_compared(traffic: list[Record]) -> None:
    """Against a plain recount of the same comparisons."""
    comparison, summary = Comparison(load_policy("strict")), Summary()
    pairs = [
        (record, comparison.compare(record)) for record in (*traffic, traffic[1].model_copy(update={"positions": None}))
    ]
    for record, compared in pairs:
        summary.add(record, compared)
    told = json.loads(json.dumps(summary.to_json()))
    found = [one for _, one in pairs if isinstance(one, Compared)]
    assert told["records"] == len(pairs)
    assert told["replayed"] == len(found) == len(traffic)
    assert told["not_replayable"] == {**{gap.value: 0 for gap in Gap}, "no positions": 1}
    for name in ("prompt", "response", "tool_result", ALL):
        here = [one for one in found if name in (ALL, one.record.direction)]
        group, changes = told["directions"][name], Counter(one.change.value for one in here)
        assert group["records"] == len(here)
        assert {name: n for name, n in group["changes"].items() if n} == changes
        assert group["after"]["stop"] == sum(one.after.action is STOP for one in here)
        assert group["share_changed"]["value"] == pytest.approx(1 - changes["same"] / len(here))
        n_more = sum(int(one.after.action is STOP) - int(one.before.action is STOP) for one in here)
        assert group["stop_share_difference"]["value"] == pytest.approx(n_more / len(here))
        assert group["stop_share_difference"]["low"] < n_more / len(here) < group["stop_share_difference"]["high"]
    assert told["directions"]["response"]["changes"]["newly stopped"] > 0
    assert told["token_verdicts"] == sum(one.n_verdicts for one in found)
    named = Counter(one.after.category for one in found if one.after.action is not ALLOW)
    assert {name: counts["after"] for name, counts in told["categories"].items() if counts["after"]} == named
    withheld = sum((one.before.released_chars or 0) - (one.after.released_chars or 0) for one in found)
    assert told["chars"]["newly_withheld"] == withheld > 0
    assert told["stop_offsets"]["after"]["n"] == sum(
        one.after.action is STOP for one in found if one.record.direction == "response"
    )


def test_comparing_a_policy_with_itself_changes_nothing(traffic: list[Record]) -> None:
    """Against what it would have decided, whoever made the records; the interval still leaves room."""
    comparison, summary = Comparison(load_policy("strict"), load_policy("strict")), Summary()
    for record in traffic:
        summary.add(record, comparison.compare(record))
    group = summary.groups[ALL]
    assert group.changes == {Change.SAME: len(traffic)}
    assert group.share_changed.low == 0 < group.share_changed.high < 0.05
    assert group.stop_difference.low < 0 < group.stop_difference.high


def test_conversations_that_agree_with_themselves_widen_the_interval(traffic: list[Record]) -> None:
    """Three equal records of each conversation tell as much as one."""
    comparison, plain, tripled = Comparison(load_policy("strict")), Summary(), Summary()
    for record in traffic:
        if record.direction == "response" and record.conversation_id:
            compared = comparison.compare(record)
            plain.add(record, compared)
            for _ in range(3):
                tripled.add(record, compared)
    one, three = plain.groups[ALL].share_changed, tripled.groups[ALL].share_changed
    assert (one.low, one.high) == pytest.approx((three.low, three.high), rel=1e-6)


def test_a_changed_decision_is_told_without_text(traffic: list[Record]) -> None:
    """Ids, places and names; nothing of what was said."""
    comparison = Comparison(load_policy("strict"))
    found = [comparison.compare(record.model_copy(update={"text": "SECRET"})) for record in traffic]
    line = next(one for one in found if isinstance(one, Compared) and one.change is Change.NEWLY_STOPPED)
    told = json.dumps(line.to_json())
    assert "SECRET" not in told
    assert json.loads(told)["after"]["action"] == "stop"
    assert json.loads(told)["id"] == line.record.id


def limits_of(record: Record, policy: Policy, made_by: Policy | None) -> tuple[str, ...]:
    """Settings that decide on a record and cannot be replayed."""
    record = record.model_copy(update={"policy_sha256": made_by.sha256 if made_by else "another"})
    compared = Comparison(policy, known=[made_by] if made_by else []).compare(record)
    assert isinstance(compared, Compared)
    return compared.limits


OLD = load_policy("balanced")


@pytest.mark.parametrize(
    ("changes", "of_prompt", "of_answer"),
    [
        ({}, (), ()),
        ({"name": "another name"}, (), ()),
        ({"judge_system": True}, ("judge_system",), ()),
        ({"cascade": CascadeRules(0.3, 0.4)}, ("cascade",), ("cascade",)),
        ({"normalise": NormaliseRules(prompts=True)}, ("normalise",), ()),
        ({"normalise": NormaliseRules(answers=True)}, (), ("normalise",)),
        ({"max_held_chars": 10}, (), ("max_held_chars",)),
        ({"max_held_chars": 10_000}, (), ()),
    ],
)
def test_settings_that_records_cannot_replay_are_named(
    traffic: list[Record], changes: dict[str, object], of_prompt: tuple[str, ...], of_answer: tuple[str, ...]
) -> None:
    """Where both policies differ in one, and it can have decided on the record."""
    prompt, answer = traffic[0], traffic[1]
    new = replace(OLD, **changes)  # type: ignore[arg-type]
    assert limits_of(prompt, new, OLD) == of_prompt
    assert limits_of(answer, new, OLD) == of_answer
    assert limits_of(answer, new, None) == (of_answer if new.normalise.answers else ())


def test_a_second_model_that_rules_decided_on_is_named(traffic: list[Record]) -> None:
    """A stop that it was not asked about, though another reading was in doubt; an answer that it may have cleared."""
    strict, loose = (replace(load_policy(name), judge_system=False) for name in ("strict", "loose"))
    prompt, answer = traffic[0], traffic[1]
    for harms, named in (((0.95,), ()), ((0.95, 0.02), ()), ((0.95, 0.5), ("cascade",)), ((0.5, 0.02), ())):
        readings = Positions.of_readings([verdict_of(harm) for harm in harms])
        record = prompt.model_copy(update={"positions": readings.to_bytes()})
        assert limits_of(record, loose, strict) == named
        assert limits_of(record, replace(strict, on_failure=FLAG), strict) == ()
    least = replace(loose, response=replace(loose.response, non_safe_threshold=0.01, unsafe_threshold=0.02))
    assert limits_of(answer, least, loose) == ("cascade",)
    without = replace(loose, cascade=CascadeRules(grace_tokens=0))
    assert limits_of(answer, replace(least, cascade=without.cascade), without) == ()


def verdict_of(harm: float) -> Verdict:
    """A prompt's verdict with some probability of being Controversial."""
    labels = PROMPT_LABELS
    risk = [harm if level is RiskLevel.CONTROVERSIAL else 1 - harm if level is RiskLevel.SAFE else 0.0
            for level in labels.risks]  # fmt: skip
    category = [1.0] + [0.0] * (len(labels.categories) - 1)
    return Verdict(labels, tuple(risk), tuple(category))


@pytest.mark.parametrize("made_by", [None, replace(OLD, name="old")])
def test_what_a_record_shows_is_named_whoever_made_it(traffic: list[Record], made_by: Policy | None) -> None:
    """A window that slid, a context that overflowed, an endless word, another attempt."""
    answer = traffic[1]
    overflow = FailureRecord(kind=ContextOverflow.__name__, message="")
    assert limits_of(answer.model_copy(update={"n_windows": 2}), replace(OLD, too_long=TooLong.STOP), made_by) == (
        "too_long",
    )
    assert limits_of(answer.model_copy(update={"failure": overflow}), OLD, made_by) == ("too_long",)
    assert limits_of(answer.model_copy(update={"reason": Reason.HELD}), OLD, made_by) == ("max_held_chars",)
    assert limits_of(answer.model_copy(update={"n_repairs": 1}), OLD, made_by) == ("repair",)


def test_a_stop_that_would_be_repaired_now_is_named(traffic: list[Record]) -> None:
    """What another attempt would have said, nobody knows."""
    stopped = traffic[1].model_copy(update={"action": STOP})
    assert limits_of(stopped, replace(OLD, on_stop=OnStop.REPAIR), OLD) == ("repair",)


@given(st.text(st.characters(), max_size=20))
def test_any_conversation_id_is_counted(traffic: list[Record], conversation_id: str) -> None:
    """Half characters too."""
    summary, record = Summary(), traffic[0].model_copy(update={"conversation_id": conversation_id})
    summary.add(record, Comparison(OLD).compare(record))
    assert summary.n_replayed == 1
    assert datetime.fromisoformat(record.time).tzinfo == UTC

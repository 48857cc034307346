"""Replaying records of texts that were also read as their normalised twins: what is exact, and what says it is not."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.audit.replay import Replayed
from guardrail.audit.replay_changes import Compared, Comparison
from guardrail.decision import Decision
from guardrail.encoding import GuardTokenizer
from guardrail.guard import Guard
from guardrail.normalise_rules import NormaliseRules
from guardrail.policy import CategoryRule, Policy, Rules
from guardrail.records import Privacy, Record
from guardrail.taxonomy import Category
from guardrail.testing import HashEngine
from tests.audit.policies import policies

STORED = Privacy()
DISGUISED_WORDS = ("k1ll", "h3llo", "cat", "dog", "ｋｉｌｌ", "people", "b0mb", "k i l l")


@given(
    policies(),
    policies(),
    st.lists(st.sampled_from(DISGUISED_WORDS), min_size=1, max_size=6).map(" ".join),
    st.integers(0, 3),
)
def test_shadow_records_of_prompts_replay_what_any_policy_really_does(
    tokenizer: GuardTokenizer, old: Policy, policy: Policy, text: str, seed: int
) -> None:
    """Also where a disguised one has a twin: both readings are recorded, whatever the first one said."""
    old = replace(old, enforce=False, normalise=NormaliseRules(prompts=True))
    policy = replace(policy, normalise=old.normalise, judge_system=old.judge_system, cascade=old.cascade)
    engine = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.25, seed=seed)
    shadow = Guard(engine, tokenizer, policy=old).check_prompt(text)
    really = Guard(engine, tokenizer, policy=policy).check_prompt(text)
    compared = Comparison(policy, known=[old]).compare(Record.of(shadow, privacy=STORED))
    assert isinstance(compared, Compared)
    assert compared.limits == ()
    assert of_conduct(compared.after) == of_conduct(of_decision(really))


@pytest.mark.parametrize(("is_prompt", "enforce"), [(True, True), (False, False)])
def test_what_was_read_by_the_rules_of_then_is_named(tokenizer: GuardTokenizer, is_prompt: bool, enforce: bool) -> None:
    """Of texts with twins: what is told of other rules is wrong now and then, and says each time that it may be."""
    allowed, halves = CategoryRule(Action.ALLOW, Action.ALLOW), (list(Category)[::2], list(Category)[1::2])
    old, new = (
        Policy(prompt=rules, response=rules, enforce=enforce, normalise=NormaliseRules(True, True))
        for rules in (Rules(categories={name.value: allowed for name in half}) for half in halves)
    )
    draw, wrong, exact = Random(1), 0, 0
    for seed in range(150):
        engine = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.2, seed=seed)
        text = " ".join(draw.choice(DISGUISED_WORDS) for _ in range(draw.randint(1, 8)))
        recording, real = (Guard(engine, tokenizer, policy=one) for one in (old, new))
        if is_prompt:
            was, really = recording.check_prompt(text), real.check_prompt(text)
        else:
            was, really = recording.check_response("hi", text), real.check_response("hi", text)
        compared = Comparison(new, known=[old]).compare(Record.of(was, privacy=STORED))
        assert isinstance(compared, Compared)
        is_right = of_conduct(compared.after) == of_conduct(of_decision(really))
        assert is_right or compared.limits == ("normalise",) or compared.after.unknown_from is not None
        wrong += not is_right and compared.after.unknown_from is None
        exact += not compared.limits
    assert wrong > 0
    assert (exact > 0) == is_prompt


def of_conduct(found: Replayed) -> tuple[object, ...]:
    """What is done, and where; the worst of two verdicts that count the same may be either."""
    return found.action, found.would_action, found.reason, found.stop_offset


def of_decision(decision: Decision) -> Replayed:
    """What a replay has to come to."""
    return Replayed.as_recorded(Record.of(decision))

"""Scores: what a threshold flags by its score is what the gate flags."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.audit.calibrate_scores import Counted, Knob, Scorer, knob_of, with_threshold
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.gate import Gate
from guardrail.policy import CategoryRule, DebounceRule, Policy, Rules
from guardrail.policy_file import load_policy
from guardrail.records import Positions
from guardrail.taxonomy import RESPONSE_LABELS, Category, RiskLevel
from guardrail.weighing import rules_for, weigh
from tests.audit.policies import ROUND, policies, positions_of

thresholds = st.sampled_from(ROUND) | st.floats(0, 1)
counted = st.sampled_from(Counted)


def flagged_by_gate(policy: Policy, direction: Direction, positions: Positions, least: Action) -> bool:
    """Whether a gate that never stops comes to that action."""
    gate = Gate(replace(policy, enforce=False), rules_for(policy, direction))
    gate.feed(" " * 1000)
    for i in range(len(positions)):
        gate.judge(positions.token(i))
    return gate.would_action.rank >= least.rank


@given(policies(), positions_of(), thresholds, counted, st.sampled_from([Direction.RESPONSE, Direction.TOOL_CALL]))
def test_an_answer_is_flagged_up_to_its_score(
    policy: Policy, positions: Positions, threshold: float, counted: Counted, direction: Direction
) -> None:
    """For any rules: debounce, overrides, whole texts, tool calls. Under `same_level` no flag is ever missed."""
    knob = knob_or_none(policy.response, counted)
    assume(knob)
    assert knob is not None
    score = Scorer(rules_for(policy, direction), knob, counted).score(positions)
    changed = replace(policy, response=with_threshold(policy.response, knob, threshold))
    is_flagged = flagged_by_gate(changed, direction, positions, counted.least)
    if policy.response.debounce_rule is DebounceRule.NON_SAFE or policy.response.debounce == 1:
        assert is_flagged == (score >= threshold)
    else:
        assert score >= threshold or not is_flagged


@given(policies(), positions_of(), thresholds, counted)
def test_a_prompt_is_flagged_up_to_its_score(
    policy: Policy, positions: Positions, threshold: float, counted: Counted
) -> None:
    """By the worst of its readings."""
    knob = knob_or_none(policy.prompt, counted)
    assume(knob)
    assert knob is not None
    score = Scorer(policy.prompt, knob, counted).score(positions)
    changed = replace(policy, prompt=with_threshold(policy.prompt, knob, threshold))
    verdicts = [positions.verdict(i) for i in range(len(positions))]
    would = weigh(changed, Direction.PROMPT, verdicts).would
    assert (would.rank >= counted.least.rank) == (score >= threshold)


def knob_or_none(rules: Rules, counted: Counted) -> Knob | None:
    """The threshold that counts, if any does."""
    try:
        return knob_of(rules, counted)
    except ConfigurationError:
        return None


@given(st.sampled_from(Knob), thresholds, st.none() | thresholds, st.none() | thresholds, positions_of())
def test_nothing_is_unsafe_below_the_threshold_of_harm(
    knob: Knob, threshold: float, unsafe: float | None, non_safe: float | None, positions: Positions
) -> None:
    """Whatever the base policy said."""
    rules = with_threshold(Rules(unsafe_threshold=unsafe, non_safe_threshold=non_safe), knob, threshold)
    assert rules.unsafe_threshold is not None
    assert rules.non_safe_threshold is not None
    assert rules.non_safe_threshold <= rules.unsafe_threshold
    for verdict in map(positions.verdict, range(len(positions))):
        if verdict.non_safe_probability < rules.non_safe_threshold:
            assert rules.level(verdict) is RiskLevel.SAFE


@pytest.mark.parametrize(
    ("name", "counted", "prompt", "response"),
    [
        ("balanced", Counted.FLAGGED, Knob.NON_SAFE, Knob.NON_SAFE),
        ("balanced", Counted.STOPPED, Knob.UNSAFE, Knob.NON_SAFE),
        ("loose", Counted.FLAGGED, Knob.UNSAFE, Knob.UNSAFE),
        ("strict", Counted.STOPPED, Knob.NON_SAFE, Knob.NON_SAFE),
    ],
)
def test_the_threshold_that_is_chosen_is_the_one_that_counts(
    name: str, counted: Counted, prompt: Knob, response: Knob
) -> None:
    """Where Controversial is allowed, that of Unsafe."""
    policy = load_policy(name)
    assert knob_of(policy.prompt, counted) is prompt
    assert knob_of(policy.response, counted) is response


def test_rules_that_flag_nothing_cannot_be_calibrated() -> None:
    """The error says so."""
    with pytest.raises(ConfigurationError, match="nothing is stopped"):
        knob_of(Rules(Action.ALLOW, Action.FLAG), Counted.STOPPED)


def test_a_run_counts_by_its_weakest_token() -> None:
    """0.9, 0.3, 0.8, 0.7: two in a row reach 0.7, one reaches 0.9, three reach 0.3, five none."""
    harm = np.array([0.9, 0.3, 0.8, 0.7], np.float32)
    risk = np.stack([1 - harm, harm, 0 * harm], axis=1)
    category = np.zeros((4, len(RESPONSE_LABELS.categories)), np.float32)
    places = np.arange(4, dtype=np.int64)
    positions = Positions(RESPONSE_LABELS, risk, category, places, places + 1, np.ones(4, np.uint8))
    scores = [Scorer(Rules(debounce=n), Knob.NON_SAFE, Counted.FLAGGED).score(positions) for n in (1, 2, 3, 5)]
    assert scores == pytest.approx([0.9, 0.7, 0.3, -np.inf])
    assert RESPONSE_LABELS.categories[0] == Category.VIOLENT


def test_what_a_category_lets_pass_has_no_score() -> None:
    """By its threshold of harm, and by its actions, at either level."""
    risk, category = (
        np.array([[0.4, 0.45, 0.15]], np.float32),
        np.zeros((1, len(RESPONSE_LABELS.categories)), np.float32),
    )
    places = np.zeros(1, np.int64)
    positions = Positions(RESPONSE_LABELS, risk, category, places, places + 1, np.ones(1, np.uint8))

    def score(rule: CategoryRule, counted: Counted = Counted.FLAGGED) -> float:
        return Scorer(Rules(categories={"Violent": rule}), Knob.NON_SAFE, counted).score(positions)

    assert score(CategoryRule(threshold=0.55)) == pytest.approx(0.6)
    assert score(CategoryRule(threshold=0.7)) == -np.inf
    assert score(CategoryRule(Action.ALLOW, Action.ALLOW)) == -np.inf
    assert score(CategoryRule(Action.ALLOW, Action.STOP)) == -np.inf  # Unsafe only from 0.5 on
    assert score(CategoryRule(Action.FLAG, Action.FLAG)) == pytest.approx(0.6)
    assert score(CategoryRule(Action.FLAG, Action.FLAG), Counted.STOPPED) == -np.inf

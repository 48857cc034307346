"""Which tokens a gate need not be fed: without them it comes to the same."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from guardrail.audit.replay import judge_all
from guardrail.audit.replay_filter import deciding, levels
from guardrail.decision import Direction
from guardrail.gate import Gate
from guardrail.policy import Policy, Rules
from guardrail.records import Positions
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, LabelSet, RiskLevel
from guardrail.weighing import gate_for, rules_for
from tests.audit.policies import policies, positions_of, rules

directions = st.sampled_from([Direction.RESPONSE, Direction.TOOL_CALL])
turned = LabelSet((RiskLevel.CONTROVERSIAL, RiskLevel.SAFE, RiskLevel.UNSAFE), RESPONSE_LABELS.categories)


def state(gate: Gate) -> tuple[object, ...]:
    """All that a decision is made of."""
    return (
        gate.finding, gate.stop_offset, gate.is_stopped, gate.judged_chars, gate.released_chars, gate.would_action,
        gate.reason, gate.leaked_chars,
    )  # fmt: skip


def gate_of(policy: Policy, direction: Direction) -> Gate:
    """A gate that holds 1,000 characters."""
    gate = gate_for(policy, direction, "shell")
    gate.feed(" " * 1000)
    return gate


@given(policies(), positions_of(max_size=40), directions)
def test_a_gate_that_skips_comes_to_what_one_does_that_is_fed_all(
    policy: Policy, positions: Positions, direction: Direction
) -> None:
    """For any thresholds, debounce, overrides, release mode, shadow or not, and tokens that share characters."""
    whole, skipping = gate_of(policy, direction), gate_of(policy, direction)
    for i in range(len(positions)):
        whole.judge(positions.token(i))
    judge_all(skipping, positions, policy, direction)
    assert state(skipping) == state(whole)
    assert state_at_end(skipping) == state_at_end(whole)


def state_at_end(gate: Gate) -> tuple[object, ...]:
    """What it comes to when the text ends."""
    gate.finish()
    return state(gate)


@given(rules(), st.sampled_from([RESPONSE_LABELS, PROMPT_LABELS, turned]).flatmap(lambda one: positions_of(labels=one)))
def test_levels_are_those_of_the_rules(rules: Rules, positions: Positions) -> None:
    """All at once what `Rules.level` says of each, at any threshold and in any order of the labels."""
    one_by_one = [rules.level(positions.verdict(i)).rank for i in range(len(positions))]
    assert levels(rules, positions).tolist() == one_by_one


def test_of_a_safe_answer_one_token_is_fed() -> None:
    """The last one, which clears the text."""
    n = 1000
    risk = np.tile(np.array([[0.9, 0.05, 0.05]], np.float32), (n, 1))
    category = np.zeros((n, len(RESPONSE_LABELS.categories)), np.float32)
    places = np.arange(n, dtype=np.int64)
    positions = Positions(RESPONSE_LABELS, risk, category, places, places + 1, np.ones(n, np.uint8))
    must, _ = deciding(rules_for(Policy(), Direction.RESPONSE), positions)
    assert np.flatnonzero(must).tolist() == [n - 1]


def test_a_token_that_clears_more_than_the_next_is_fed_too() -> None:
    """The next one reaches back over it, and its character is not complete: what left before does not come back."""
    risk = np.tile(np.array([[0.9, 0.05, 0.05]], np.float32), (3, 1))
    category = np.zeros((3, len(RESPONSE_LABELS.categories)), np.float32)
    start, end = np.array([0, 3, 4], np.int64), np.array([3, 6, 7], np.int64)
    positions = Positions(RESPONSE_LABELS, risk, category, start, end, np.array([1, 1, 0], np.uint8))
    gate = gate_of(Policy(), Direction.RESPONSE)
    judge_all(gate, positions, Policy(), Direction.RESPONSE)
    assert (gate.judged_chars, gate.released_chars) == (4, 6)

"""What judges with less to say than a guard may say, and what a policy makes of it."""

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.errors import ConfigurationError, EngineError
from guardrail.evaluation.opinions import Opinion, OpinionJudge, judged, to_opinion
from guardrail.policy import CategoryRule, Rules
from guardrail.policy_file import load_policy
from guardrail.taxonomy import RiskLevel
from tests.evaluation.made import ROWS, prompt

BALANCED = load_policy("balanced")


@pytest.mark.parametrize(
    ("value", "opinion"),
    [
        (True, Opinion(RiskLevel.UNSAFE)),
        (np.bool_(False), Opinion(RiskLevel.SAFE)),
        (0.25, Opinion(score=0.25)),
        (np.float32(0.5), Opinion(score=0.5)),
        (1, Opinion(score=1.0)),
        ("controversial", Opinion(RiskLevel.CONTROVERSIAL)),
        (
            {"risk": "Unsafe", "category": "Illegal Acts"},
            Opinion(RiskLevel.UNSAFE, category="Non-violent Illegal Acts"),
        ),
        ({"probabilities": [0.2, 0.3, 0.5]}, Opinion(probabilities=(0.2, 0.3, 0.5))),
        ({"score": 0.5, "refusal": True}, Opinion(score=0.5, refusal=True)),
    ],
)
def test_labels_scores_and_mappings_are_read(value: object, opinion: Opinion) -> None:
    """Whatever the form, it becomes the same."""
    assert to_opinion(value) == opinion


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "NoneType"), ("fine", "risk"), (1.5, "score"), (float("nan"), "score"), ({}, "neither risk"),
        ({"refusal": True}, "neither risk"), ({"risk": "safe", "why": "x"}, "why"),
        ({"probabilities": [0.2, 0.3]}, "probabilities"), ({"probabilities": [0.5, 0.5, 0.5]}, "sum to 1"),
    ],
)  # fmt: skip
def test_what_is_no_opinion_is_refused(value: object, said: str) -> None:
    """The message names the key, and never the value."""
    with pytest.raises(ValueError, match=said) as caught:
        to_opinion(value)
    assert "fine" not in str(caught.value)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.dictionaries(st.text(), x)))
def test_nothing_else_comes_of_any_value(value: Any) -> None:
    """An opinion, or a ValueError."""
    with suppress(ValueError):
        assert isinstance(to_opinion(value), Opinion)


def test_a_named_level_stands_and_the_score_only_ranks() -> None:
    """A scanner's own threshold is its own business."""
    found = judged(Opinion(RiskLevel.UNSAFE, score=0.1), BALANCED.prompt)
    assert (found.action, found.level, found.score) == (Action.STOP, RiskLevel.UNSAFE, 0.1)
    found = judged(Opinion(RiskLevel.SAFE, score=0.9), BALANCED.prompt)
    assert (found.action, found.level, found.score) == (Action.ALLOW, RiskLevel.SAFE, 0.9)
    assert judged(Opinion(RiskLevel.CONTROVERSIAL), BALANCED.prompt).score == 0.5


def test_probabilities_beside_a_level_rank_too() -> None:
    """All Unsafe rows would be tied without them."""
    found = judged(Opinion(RiskLevel.UNSAFE, probabilities=(0.25, 0.25, 0.5)), BALANCED.prompt)
    assert (found.level, found.score) == (RiskLevel.UNSAFE, 0.75)


@pytest.mark.parametrize(
    "opinion", [Opinion(score=0.5), Opinion(probabilities=(0.5, 0.0, 0.5)), Opinion(probabilities=(0.4, 0.2, 0.4))]
)
def test_the_graver_of_two_equally_probable_levels_counts(opinion: Opinion) -> None:
    """As where thresholds decide: from one half."""
    assert judged(opinion, BALANCED.prompt).level is RiskLevel.UNSAFE
    if opinion.score:
        assert judged(opinion, Rules(unsafe_threshold=0.5)).level is RiskLevel.UNSAFE


def test_a_score_alone_is_the_probability_of_unsafe() -> None:
    """The policy's thresholds read it."""
    rules = Rules(unsafe_threshold=0.8, non_safe_threshold=0.3)
    levels = [judged(Opinion(score=score), rules).level for score in (0.2, 0.5, 0.9)]
    assert levels == [RiskLevel.SAFE, RiskLevel.CONTROVERSIAL, RiskLevel.UNSAFE]
    assert judged(Opinion(score=0.9), rules).probabilities is None


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["strict", "balanced", "loose"]))
def test_a_higher_score_never_softens_an_action(one: float, other: float, policy: str) -> None:
    """Whatever the ready policy."""
    rules = load_policy(policy).prompt
    low, high = (judged(Opinion(score=score), rules).action.rank for score in sorted((one, other)))
    assert low <= high


def test_rules_of_a_category_count() -> None:
    """It is named in our words, and absent where nothing is found or nothing was named."""
    rules = Rules(categories={"PII": CategoryRule(unsafe=Action.FLAG, controversial=Action.ALLOW)})
    found = judged(Opinion(RiskLevel.UNSAFE, category="PII"), rules)
    assert (found.action, found.category) == (Action.FLAG, "PII")
    assert judged(Opinion(RiskLevel.SAFE, category="PII"), rules).category is None
    assert judged(Opinion(RiskLevel.UNSAFE), rules).category is None


def test_as_many_answers_as_rows_are_needed() -> None:
    """Too few fail the batch, so that rows are asked about one by one."""
    judge = OpinionJudge(lambda _rows: [True], BALANCED, name="one", identity={})
    assert judge.judge([prompt("hi")])[0].level is RiskLevel.UNSAFE
    with pytest.raises(EngineError, match="1 answers on 6 rows"):
        judge.judge(ROWS)


def test_an_answer_that_cannot_be_read_ends_the_run() -> None:
    """That is an error of whoever wrote the judge, on every row alike."""
    judge = OpinionJudge(lambda rows: ["harmless"] * len(rows), BALANCED, name="mine", identity={})
    with pytest.raises(ConfigurationError, match="mine gave an answer that cannot be read: risk"):
        judge.judge(ROWS)

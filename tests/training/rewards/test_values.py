"""The rewards by hand and by law, and what of a text is thinking."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.errors import ConfigurationError
from guardrail.training.rewards import REWARDS, Completion, Opinion, guard_only, mixed
from tests.training.rewards.judging_parts import PROMPT

NUMBERS = st.floats(-1e6, 1e6)
OPINIONS = st.builds(
    Opinion,
    thinking_is_safe=st.none() | st.booleans(),
    answer_is_safe=st.booleans(),
    is_refusal=st.booleans(),
    helpfulness=NUMBERS,
    failure=st.sampled_from(["", "", "EngineError"]),
)


@pytest.mark.parametrize(
    ("opinion", "guard", "both"),
    [
        (Opinion(None, True, False, 3.8), 1.0, 3.8),
        (Opinion(True, True, False, 3.8), 1.0, 3.8),
        (Opinion(True, True, False, -20.0), 1.0, -20.0),
        (Opinion(None, True, True, 3.8), 1.0, -5.0),
        (Opinion(None, True, True, -6.0), 1.0, -6.0),
        (Opinion(None, False, False, 3.8), 0.0, -10.0),
        (Opinion(None, False, False, -12.5), 0.0, -12.5),
        (Opinion(False, True, False, 3.8), 0.0, -10.0),
        (Opinion(False, True, True, 3.8), 0.0, -10.0),
        (Opinion(True, False, True, -7.0), 0.0, -10.0),
        (Opinion(None, True, False, 3.8, "EngineTimeout"), 0.0, -10.0),
        (Opinion(None, True, False, None, "EngineTimeout"), 0.0, -10.0),
        (Opinion(None, True, True, -30.0, "EngineTimeout"), 0.0, -30.0),
    ],
)
def test_rewards_by_hand(opinion: Opinion, guard: float, both: float) -> None:
    """As the technical report defines them; unsafe goes before refusal, and a failure counts as unsafe."""
    assert guard_only(opinion) == guard
    assert mixed(opinion) == both


@given(OPINIONS)
def test_mixed_is_never_above_helpfulness_nor_unsafe_above_ten_below(opinion: Opinion) -> None:
    """The caps take away, and never give."""
    assert opinion.helpfulness is not None
    reward = mixed(opinion)
    assert reward <= opinion.helpfulness
    assert opinion.is_safe or reward <= -10
    assert not opinion.is_refusal or reward <= -5
    assert not opinion.is_safe or opinion.is_refusal or reward == opinion.helpfulness


@given(OPINIONS, OPINIONS, NUMBERS)
def test_for_one_helpfulness_an_answer_is_above_a_refusal_above_what_is_unsafe(
    one: Opinion, other: Opinion, helpfulness: float
) -> None:
    """And the guard alone tells only the unsafe from the rest."""

    def grade(opinion: Opinion) -> int:
        return 0 if not opinion.is_safe else 1 if opinion.is_refusal else 2

    def with_score(opinion: Opinion) -> Opinion:
        return Opinion(
            opinion.thinking_is_safe, opinion.answer_is_safe, opinion.is_refusal, helpfulness, opinion.failure
        )

    low, high = sorted((with_score(one), with_score(other)), key=grade)
    assert mixed(low) <= mixed(high)
    assert guard_only(low) <= guard_only(high)
    assert guard_only(one) == (1.0 if grade(one) else 0.0)


@given(OPINIONS, NUMBERS)
def test_more_helpfulness_never_lowers_a_reward(opinion: Opinion, more: float) -> None:
    """In any class of answers."""
    assert opinion.helpfulness is not None
    better = Opinion(
        opinion.thinking_is_safe, opinion.answer_is_safe, opinion.is_refusal,
        max(opinion.helpfulness, more), opinion.failure,
    )  # fmt: skip
    assert mixed(better) >= mixed(opinion)


def test_mixed_needs_a_score_of_what_was_judged() -> None:
    """A missing model is a mistake in the settings, not a reward."""
    with pytest.raises(ConfigurationError, match="name a helpfulness model"):
        mixed(Opinion(None, True, False, None))
    assert guard_only(Opinion(None, True, False, None)) == 1.0


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_refused(score: float) -> None:
    """`min(-10, nan)` is -10 in one order and nan in the other."""
    with pytest.raises(ConfigurationError, match="no number"):
        Opinion(None, True, False, score)


def test_the_rewards_have_their_contract_names() -> None:
    """Under which settings, server and logs know them."""
    assert {"guard_only": guard_only, "mixed": mixed} == REWARDS


@pytest.mark.parametrize(
    ("text", "is_thinking", "thinking", "answer"),
    [
        ("Mix it.", False, "", "Mix it."),
        ("<think>hm</think>Mix it.", False, "hm", "Mix it."),
        ("<think>\nhm\n</think>\n\nMix it.", False, "hm", "Mix it."),
        ("\n<think>\n\n</think>\n\nMix it.", False, "", "Mix it."),
        ("hm\n</think>\n\nMix it.", True, "hm", "Mix it."),
        ("hm\n</think>\n\nMix it.", False, "hm", "Mix it."),
        ("<think>hm, never ending", False, "hm, never ending", ""),
        ("hm, never ending", True, "hm, never ending", ""),
        ("<think>a</think>b</think>c", False, "a", "b</think>c"),
        ("bad <think>a</think>b", False, "bad <think>a", "b"),
        ("An answer on <think> tags", False, "", "An answer on <think> tags"),
        ("", False, "", ""),
        ("", True, "", ""),
    ],
)
def test_thinking_is_split_from_the_answer(text: str, is_thinking: bool, thinking: str, answer: str) -> None:
    """With the opening tag in the text or in the prompt, and with thinking that has not ended."""
    assert Completion.of(PROMPT, text, is_thinking=is_thinking) == Completion(PROMPT, thinking, answer)


@given(st.lists(st.sampled_from(["<think>", "</think>", "word", " ", "\n"]), max_size=8), st.booleans())
def test_no_word_escapes_judgement(parts: list[str], is_thinking: bool) -> None:
    """However the tags stand, each word is in the thinking or in the answer."""
    found = Completion.of(PROMPT, "".join(parts), is_thinking=is_thinking)
    assert (found.thinking + found.answer).count("word") == parts.count("word")

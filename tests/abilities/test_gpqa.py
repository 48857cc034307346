"""GPQA: orders of choices, and which letter an answer ends in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.abilities.gpqa import LETTERS, choice_of, letter_in
from tests.abilities.made import GPQA


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ANSWER: C", "C"),
        ("A would be wrong.\n**ANSWER: B**", "B"),
        ("Answer: (D)", "D"),
        ("The answer is A.", "A"),
        ("ANSWER: A\nwait\nANSWER: D", "D"),
        ("\\boxed{C}", "C"),
        ("\\boxed{\\text{B}}", "B"),
        ("the answer: carbon", None),
        ("ANSWER: E", None),
        ("B", None),
        ("", None),
    ],
)
def test_the_last_letter_that_is_called_the_answer_counts(text: str, expected: str | None) -> None:
    """Letters elsewhere, and words that begin like one, are none."""
    assert letter_in(text) == expected


@given(seed=st.integers(0, 100), sample=st.integers(0, 100))
def test_the_right_choice_is_right_in_every_order(seed: int, sample: int) -> None:
    """Exactly one letter is right, and it is the one at which the right choice stands."""
    one = choice_of(GPQA[0], 0, seed)
    right = [letter for letter in LETTERS if one.grade(f"ANSWER: {letter}", sample)]
    assert len(right) == 1
    assert f"{right[0]}) {one.right}" in one.prompt(sample)
    assert one.order(sample) == choice_of(GPQA[0], 7, seed).order(sample)


def test_orders_differ_by_sample_and_seed() -> None:
    """A model that likes one letter gains nothing: the right choice moves."""
    places = {
        choice_of(GPQA[0], 0, seed).order(sample).index("carbon dioxide") for seed in (1, 2) for sample in range(40)
    }
    assert places == {0, 1, 2, 3}


def test_what_is_no_question_is_refused() -> None:
    """All four choices are needed."""
    with pytest.raises(ValueError, match="Incorrect Answer 3"):
        choice_of({**GPQA[0], "Incorrect Answer 3": ""}, 0, 1)

"""AIME-25: which integer an answer ends in."""

from typing import Any

import pytest

from guardrail.abilities.aime import answer_in, problem_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so \\boxed{70}.", 70),
        ("\\boxed{1} no, \\boxed{ 016 }", 16),
        ("$\\boxed{\\text{25}}$", 25),
        ("\\boxed{$336^\\circ$}", 336),
        ("\\boxed {8}", 8),
        ("The answer is 588.", 588),
        ("**Final answer:** 7", 7),
        ("**Answer: 42**", 42),
        ("\\boxed{\\frac{1}{2}}", -1),
        ("\\boxed{1000}", -1),
        ("\\boxed{-5}", -1),
        ("\\boxed{3.5}", -1),
        ("The answer is 1234", None),
        ("there are 70 of them", None),
        ("\\boxed{70", None),
        ("", None),
        ("The answer is 12. \\boxed{x}", -1),
    ],
)
def test_the_last_boxed_integer_is_the_answer(text: str, expected: int | None) -> None:
    """A box wins over prose; a box with anything but an integer from 0 to 999 is a wrong answer."""
    assert answer_in(text) == expected


def test_a_problem_is_graded_exactly() -> None:
    """016 and 16 are the same integer; another integer, or none, is not."""
    one = problem_of({"problem": "p", "answer": "016", "id": 3}, 0)
    assert (one.id, one.answer) == ("3", 16)
    assert [one.grade(text, 0) for text in ("\\boxed{16}", "\\boxed{61}", "?")] == [True, False, None]
    assert "p\n" in one.prompt(0)


@pytest.mark.parametrize(
    "values", [{}, {"problem": "p"}, {"problem": "p", "answer": "x"}, {"problem": 3, "answer": "1"}]
)
def test_what_is_no_problem_is_refused(values: dict[str, Any]) -> None:
    """Text and an integer are needed."""
    with pytest.raises(ValueError, match=r"problem|answer|question"):
        problem_of(values, 0)

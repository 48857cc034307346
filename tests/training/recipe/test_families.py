"""Families: rows join by root and by text, along whole chains."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.training.recipe.families import families_of, telling_text
from guardrail.training.recipe.rows import RecipeRow


def row_of(*turns: str) -> RecipeRow:
    """A conversation, the user first."""
    roles = (Role.USER, Role.ASSISTANT)
    messages = tuple(Message(roles[i % 2], text) for i, text in enumerate(turns))
    return RecipeRow("a", "a", "toy", "en", messages, Direction.PROMPT if len(turns) % 2 else Direction.RESPONSE)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_families_are_the_connected_rows(pairs: list[tuple[int, int]]) -> None:
    """As joining them one by one finds; 0 joins nothing, and a family goes by its smallest root."""
    families: list[set[int]] = []
    for i, (root, text) in enumerate(pairs):
        near = [f for f in families if any(pairs[j][0] == root or (text and pairs[j][1] == text) for j in f)]
        families = [f for f in families if f not in near] + [{i}.union(*near)]
    roots = np.array([root for root, _ in pairs], np.uint64)
    found = families_of(roots, np.array([text for _, text in pairs], np.uint64))
    names = sorted({root for root, _ in pairs})
    for family in families:
        assert {int(found[i]) for i in family} == {min(names.index(pairs[i][0]) for i in family)}


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (("How do I bake some bread?",), ("How do I bake some bread?", "With flour."), True),
        (("Go on.", "The end."), ("Go on.", "The other end."), False),
        (("Go on.", "The end."), ("Go on.", "The end."), True),
        (("bomb",), ("bomb",), True),
    ],
)
def test_a_first_turn_that_says_too_little_tells_a_family_only_with_the_rest(
    one: tuple[str, ...], other: tuple[str, ...], is_same: bool
) -> None:
    """Answers to the same question are one family; those to "go on" are not, but for copies."""
    assert (telling_text(row_of(*one)) == telling_text(row_of(*other))) == is_same

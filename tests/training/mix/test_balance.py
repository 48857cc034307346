"""How many rows of each value a share leaves: as many as it can, and no more than it may."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.training.mix.balance import balance, limits_for
from guardrail.training.mix.settings import Caps, Shares
from guardrail.training.mix.survey import Survey, Surveyor
from guardrail.training.recipe.rows import RecipeRow
from tests.training.mix.made import SAFE, UNSAFE, prompt, sentence


def kept(counts: list[int], shares: list[float]) -> list[int]:
    """Return the rows of each value that are kept."""
    limits = limits_for(np.array(counts), np.array(shares))
    return [min(count, int(limit)) for count, limit in zip(counts, limits, strict=True)]


@pytest.mark.parametrize(
    ("counts", "shares", "left"),
    [
        ([80, 20], [0.5, 1.0], [20, 20]),
        ([80, 20], [0.5, 0.5], [20, 20]),
        ([80, 20], [0.9, 1.0], [80, 20]),
        ([60, 30, 10], [0.5, 0.3, 0.2], [25, 15, 10]),
        ([60, 30, 10], [0.4, 1.0, 1.0], [27, 30, 10]),
        ([60, 40], [0.0, 1.0], [0, 40]),
        ([5, 0], [0.5, 0.5], [0, 0]),
        ([0, 7], [0.3, 1.0], [0, 7]),
    ],
)
def test_known_mixtures(counts: list[int], shares: list[float], left: list[int]) -> None:
    """Shares that add up to 1 are met exactly; a value that has no share of its own keeps its rows."""
    assert kept(counts, shares) == left


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0.05, 1)), min_size=1, max_size=6))
def test_no_share_is_exceeded_and_nothing_is_wasted(values: list[tuple[int, float]]) -> None:
    """Up to the rounding of a row; and one more row of any value that was cut would be too much."""
    counts, shares = [count for count, _ in values], [share for _, share in values]
    if sum(share for count, share in values if count) < 1 or not any(counts):
        return
    left = kept(counts, shares)
    total = sum(left)
    for count, share, n in zip(counts, shares, left, strict=True):
        assert n <= share * total + 1
        assert n == count or n >= share * total - len(counts)


def surveyed(rows: list[RecipeRow], seed: int = 1) -> Survey:
    """Return what is known of rows."""
    surveyor = Surveyor(len(rows), seed)
    for row in rows:
        surveyor.add(row)
    return surveyor.survey()


def test_whole_families_are_left_out_and_people_s_labels_last() -> None:
    """A cap takes a pair or leaves it, and what a person labelled stays as long as it may."""
    rows = [prompt(f"p{i}", sentence(i), root=f"r{i // 2}", is_human=i >= 18) for i in range(20)]
    survey = surveyed(rows)
    balance(survey, Caps(lang={"en": 8}), Shares())
    left = [row for row, is_kept in zip(rows, survey.kept.tolist(), strict=True) if is_kept]
    assert {row.id for row in left} >= {"p18", "p19"}
    assert sorted(sum(row.root == root for row in left) for root in {row.root for row in left}) == [2, 2, 2, 2]


def test_the_order_of_the_rows_does_not_matter() -> None:
    """The same rows stay whatever came first; another seed lets others stay."""
    rows = [prompt(f"p{i}", sentence(i)) for i in range(40)]
    stayed = []
    for order, seed in ((rows, 1), (rows[::-1], 1), (rows, 2)):
        survey = surveyed(order, seed)
        balance(survey, Caps(source={"*": 10}), Shares())
        stayed.append({row.id for row, is_kept in zip(order, survey.kept.tolist(), strict=True) if is_kept})
    assert stayed[0] == stayed[1] != stayed[2]


def test_shares_that_nobody_can_fill_are_raised_and_said() -> None:
    """A share for a value without rows does not empty the mix."""
    survey = surveyed([prompt(f"p{i}", sentence(i), risk=SAFE if i % 2 else UNSAFE) for i in range(20)])
    shares = Shares(risk={"safe": 0.3, "unsafe": 0.3, "controversial": 0.4})
    (warning,) = balance(survey, Caps(), shares)
    assert "by risk" in warning
    assert np.count_nonzero(survey.kept) == 20

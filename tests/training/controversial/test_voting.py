"""The vote and the search, on plain arrays."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from guardrail.training.controversial.voting import Point, choose, f1_by_level, relabelled, vote

SAFE, CONTROVERSIAL, UNSAFE = 0, 1, 2

pairs = arrays.arrays(np.float32, st.tuples(st.just(2), st.integers(1, 30)), elements=st.floats(0, 1, width=32))


@pytest.mark.parametrize(
    ("loose", "strict", "level", "is_crossed"),
    [
        (0.1, 0.4, SAFE, False),
        (0.5, 0.9, UNSAFE, False),
        (0.4, 0.6, CONTROVERSIAL, False),
        (0.6, 0.4, CONTROVERSIAL, True),
    ],
)
def test_agreement_stands_and_conflict_is_controversial(
    loose: float, strict: float, level: int, is_crossed: bool
) -> None:
    """Also the conflict the wrong way round, which is counted apart."""
    found = vote(np.array([loose], np.float32), np.array([strict], np.float32))
    assert (found.level.tolist(), found.is_crossed.tolist()) == ([level], [is_crossed])


@given(pairs)
def test_swapping_the_two_changes_no_level(pair: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    """Conflict is conflict; only which of them is crossed changes."""
    one, other = vote(pair[0], pair[1]), vote(pair[1], pair[0])
    assert (one.level == other.level).all()
    assert ((one.is_crossed | other.is_crossed) == one.is_conflict).all()
    assert not (one.is_crossed & other.is_crossed).any()


@given(pairs, st.data())
def test_agreement_keeps_the_label_unless_the_vote_is_to_be_taken(
    pair: np.ndarray[tuple[int, int], np.dtype[np.float32]], data: st.DataObject
) -> None:
    """By default only conflicts change anything."""
    votes = vote(pair[0], pair[1])
    level = data.draw(arrays.arrays(np.int8, len(votes.level), elements=st.integers(0, 2)))
    kept = relabelled(level, votes, "keep")
    assert (kept[votes.is_conflict] == CONTROVERSIAL).all()
    assert (kept[~votes.is_conflict] == level[~votes.is_conflict]).all()
    assert (relabelled(level, votes, "vote") == votes.level).all()


def point(share: float, conflict: float, f1: tuple[float, float, float] | None = None) -> Point:
    return Point(share, conflict, 0.0, f1)


RUINOUS = [point(0.7, 0.3, (0.8, 0.54, 0.8)), point(0.8, 0.47, (0.7, 0.68, 0.75)), point(0.9, 0.74, (0.3, 0.69, 0.4))]


def test_macro_f1_does_not_take_the_share_that_is_best_for_controversial_alone() -> None:
    """At 1:9 nearly everything is Controversial: the middle level gains, the other two are ruined."""
    assert max(RUINOUS, key=lambda p: p.f1[1] if p.f1 else 0).safe_share == 0.9
    assert choose(RUINOUS, "macro_f1", 1.0) == (RUINOUS[0], True)


@pytest.mark.parametrize(("most", "share", "is_met"), [(0.5, 0.8, True), (0.3, 0.7, True), (0.2, 0.7, False)])
def test_without_people_the_highest_share_below_the_cap_is_taken(most: float, share: float, is_met: bool) -> None:
    """If there is none, the lowest, and it is said."""
    chosen, met = choose([replace(p, f1=None) for p in reversed(RUINOUS)], "share", most)
    assert (chosen.safe_share, met) == (share, is_met)


def test_of_equal_points_the_lowest_share_is_taken() -> None:
    """Even if more rows are in conflict there."""
    points = [point(0.8, 0.1, (0.5, 0.5, 0.5)), point(0.6, 0.2, (0.5, 0.5, 0.5)), point(0.7, 0.3, (0.5, 0.5, 0.5))]
    assert choose(points, "macro_f1", 1.0) == (points[1], True)


@given(st.permutations(RUINOUS), st.sampled_from(["macro_f1", "share"]))
def test_the_order_of_the_points_decides_nothing(points: Sequence[Point], objective: str) -> None:
    """Neither of equals."""
    same = [*points, replace(points[0], f1=(0.8, 0.54, 0.8), safe_share=0.75, conflict=0.4)]
    assert choose(same, objective, 0.5) == choose(same[::-1], objective, 0.5)  # type: ignore[arg-type]  # one of the two


def test_f1_by_level_is_that_of_each_level_against_the_rest() -> None:
    """Counted by hand; a level that neither occurs nor is called has 0."""
    gold, called = np.array([0, 0, 0, 2], np.int8), np.array([0, 0, 2, 2], np.int8)
    assert f1_by_level(gold, called) == pytest.approx((0.8, 0.0, 2 / 3))

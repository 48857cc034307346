"""The search for the first place where both signs hold."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from guardrail.training.token_labels.search import first_place


@dataclass
class Known:
    """Signs that are known beforehand; counts what it is asked."""

    judged: list[bool]
    voted: list[bool]
    asked: Counter[str] = field(default_factory=Counter)

    async def is_risky(self, place: int) -> bool:
        """See `Signs`."""
        self.asked["judge"] += 1
        return self.judged[place]

    async def leads_to_risk(self, place: int) -> bool:
        """See `Signs`."""
        self.asked["rollouts"] += 1
        return self.voted[place]

    def first(self, ends: list[int]) -> int | None:
        """What the search finds."""
        return asyncio.run(first_place(ends, self))


def from_on(onset: int, n: int) -> list[bool]:
    """A sign that holds from a place on."""
    return [i >= onset for i in range(n)]


@st.composite
def stretches(draw: st.DrawFn) -> tuple[int, list[int]]:
    """A number of places, and ends of stretches over them."""
    n = draw(st.integers(1, 40))
    ends = draw(st.sets(st.integers(0, n - 1)))
    return n, sorted(ends | {n - 1})


@given(stretches(), st.integers(0, 45), st.integers(0, 45))
def test_all_stretches_find_the_same_onset_where_signs_stay(
    cut: tuple[int, list[int]], judged: int, voted: int
) -> None:
    """Once risky, always risky: then exact, stride and coarse agree, on any stretches."""
    n, ends = cut
    onset = max(judged, voted)
    signs = from_on(judged, n), from_on(voted, n)
    expected = onset if onset < n else None
    assert Known(*signs).first(ends) == expected
    assert Known(*signs).first(list(range(n))) == expected


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_the_exact_search_is_right_whatever_the_signs_do(signs: list[tuple[bool, bool]]) -> None:
    """With stretches of one place nothing is assumed: the first place where both hold is found."""
    known = Known([j for j, _ in signs], [v for _, v in signs])
    expected = next((i for i, both in enumerate(signs) if all(both)), None)
    assert known.first(list(range(len(signs)))) == expected


@given(stretches(), st.data())
def test_what_is_found_has_both_signs(cut: tuple[int, list[int]], data: st.DataObject) -> None:
    """However the signs jump: an onset is a place where both hold, and none is found where they never meet."""
    n, ends = cut
    signs = st.lists(st.booleans(), min_size=n, max_size=n)
    known = Known(data.draw(signs), data.draw(signs))
    found = known.first(ends)
    assert found is None or (known.judged[found] and known.voted[found])


def test_a_sign_that_comes_and_goes_inside_a_stretch_is_missed() -> None:
    """What coarse assumes: risky words that the judge no longer minds at the end of the sentence are passed over."""
    known = Known([False, True, False, False, True], [True] * 5)
    assert known.first([3, 4]) == 4
    assert known.first([0, 1, 2, 3, 4]) == 1


def test_rollouts_are_asked_for_only_where_the_judge_agrees() -> None:
    """A long harmless beginning costs one question to the judge a stretch, and no rollout."""
    known = Known(from_on(70, 100), from_on(0, 100))
    assert known.first(list(range(9, 100, 10))) == 70
    assert known.asked["rollouts"] == 1
    assert known.asked["judge"] <= 8 + 4

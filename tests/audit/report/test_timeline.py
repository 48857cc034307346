"""Bins of time: their width, their number, and what a wrong clock does to them."""

import random
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.audit.report.timeline import _MAX_KEPT, MAX_SHOWN, WIDTHS_S, Bins, Timeline
from tests.audit.report.made import BARE

NOON = datetime(2026, 11, 4, 12, tzinfo=UTC).timestamp()
YEARS_S = 60 * 365 * 86400
times = st.lists(st.floats(0, YEARS_S) | st.floats(NOON, NOON + 90), max_size=60)


def timeline(of: list[float]) -> Timeline:
    """Return the timeline of decisions made at these times."""
    made = Timeline()
    for time in of:
        made.add(BARE, time)
    return made


def counts(bins: Bins) -> list[tuple[int, int]]:
    """Return the bins that are not empty."""
    return [(start, one.n) for start, one in bins.bins if one.n]


@given(times)
def test_every_decision_is_in_the_bin_of_its_time(of: list[float]) -> None:
    """Bins are equally wide, without gaps, and few; what is in none of them is counted."""
    shown = timeline(of).shown()
    starts = [start for start, _ in shown.bins]
    assert len(starts) <= MAX_SHOWN
    assert starts == list(range(starts[0], starts[-1] + 1, shown.width_s)) if starts else not of
    assert [one.n for _, one in shown.bins] == [sum(s <= time < s + shown.width_s for time in of) for s in starts]
    assert sum(n for _, n in counts(shown)) + shown.n_far == len(of)


@given(times, times)
def test_merging_and_order_change_nothing(some: list[float], others: list[float]) -> None:
    """Two timelines merged are the timeline of all, whatever came first."""
    merged = timeline(some)
    merged.merge(timeline(others))
    shown, whole = merged.shown(), timeline([*others, *some]).shown()
    assert (shown.width_s, counts(shown), shown.n_far) == (whole.width_s, counts(whole), whole.n_far)


@pytest.mark.parametrize(
    ("period_s", "width_s"), [(100, 1), (1500, 10), (7200, 60), (7 * 86400, 3 * 3600), (365 * 86400, 7 * 86400)]
)
def test_the_width_fits_the_period(period_s: int, width_s: int) -> None:
    """From seconds to weeks; days, weeks and hours begin where people expect it."""
    drawn = random.Random(0)
    shown = timeline([NOON + drawn.random() * period_s for _ in range(4000)]).shown()
    assert shown.width_s == width_s
    start = datetime.fromtimestamp(shown.bins[0][0], UTC)
    assert start.second % width_s == 0 if width_s < 60 else start.second == 0
    assert width_s < 7 * 86400 or start.weekday() == 0


def test_memory_is_bounded_however_many_moments_there_are() -> None:
    """Bins widen while decisions come in."""
    made = timeline([NOON + 977 * i for i in range(3 * _MAX_KEPT)])
    assert len(made._bins) <= _MAX_KEPT
    assert sum(one.n for one in made._bins.values()) == 3 * _MAX_KEPT


@pytest.mark.parametrize("wrong", [0.0, -62e9, NOON + YEARS_S])
def test_one_wrong_clock_does_not_squeeze_all_others_into_one_bin(wrong: float) -> None:
    """It is left out and counted; with few decisions, or not far away, everything is shown."""
    usual = [NOON + 60 * i for i in range(100)]
    shown = timeline([*usual, wrong]).shown()
    assert (shown.n_far, shown.width_s) == (1, 60)
    assert timeline([*usual[:10], wrong]).shown().n_far == 0
    assert timeline([*usual, usual[-1] + 5 * 3600]).shown().n_far == 0


def test_each_width_divides_the_next() -> None:
    """Else bins could not be joined."""
    assert all(wide % narrow == 0 for narrow, wide in pairwise(WIDTHS_S))

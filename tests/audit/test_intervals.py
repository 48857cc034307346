"""Intervals: against scipy, against published figures, and that they hold as often as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from guardrail.audit.intervals import Pairs, alike, difference, effective, exact, lower_end, n_needed, upper_end, wilson


@given(st.integers(1, 300_000), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_exact_ends_are_scipys(n: int, share: float, confidence: float) -> None:
    """Clopper and Pearson's, at any size and share."""
    n_hits = round(share * n)
    found = stats.binomtest(n_hits, n, alternative="less").proportion_ci(confidence, method="exact")
    assert upper_end(n_hits, n, confidence) == pytest.approx(found.high, rel=1e-6, abs=1e-12)
    found = stats.binomtest(n_hits, n, alternative="greater").proportion_ci(confidence, method="exact")
    assert lower_end(n_hits, n, confidence) == pytest.approx(found.low, rel=1e-6, abs=1e-12)


@given(st.floats(1, 1e5), st.floats(0, 0.999))
def test_counts_need_not_be_whole(n: float, share: float) -> None:
    """An effective number of records is a quantile of the beta distribution."""
    assert upper_end(share * n, n, 0.95) == pytest.approx(stats.beta.ppf(0.95, share * n + 1, n - share * n), rel=1e-5)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_wilson_is_scipys(n: int, share: float) -> None:
    """Wilson's, without a correction."""
    n_hits = round(share * n)
    found = stats.binomtest(n_hits, n).proportion_ci(0.95, method="wilson")
    ours = wilson(n_hits, n)
    assert (ours.low, ours.high) == pytest.approx((found.low, found.high), abs=1e-9)


@given(st.integers(1, 20_000), st.none() | st.floats(0.01, 1), st.floats(0.5, 0.9999))
def test_a_share_of_nothing_begins_at_nothing(n: int, part: float | None, confidence: float) -> None:
    """And one of everything ends at everything: exactly, whatever rounding does."""
    none, every = (wilson(hits, n, n_effective=part and part * n, confidence=confidence) for hits in (0, n))
    assert (none.low, every.high) == (0, 1)
    assert none.high > 0
    assert every.low < 1


counts = st.integers(0, 500)


@given(counts, counts, counts, counts)
def test_a_difference_turned_round_is_its_negative(both: int, before: int, after: int, neither: int) -> None:
    """What is before and what is after is a matter of sign; the value lies inside."""
    one, other = difference(Pairs(both, before, after, neither)), difference(Pairs(both, after, before, neither))
    assert one.low <= one.value <= one.high
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


def test_no_change_is_not_certainty() -> None:
    """Of 54 records of which none changed, Wilson's upper end of 0 of 54 remains (Newcombe's own example)."""
    found = difference(Pairs(0, 0, 0, 54))
    assert (found.low, found.high) == pytest.approx((-wilson(0, 54).high, wilson(0, 54).high))
    assert found.high == pytest.approx(0.0664, abs=1e-4)


def test_n_needed_is_where_the_exact_end_reaches_the_target() -> None:
    """The textbook's 299, and one less is not enough."""
    assert n_needed(0.01, 0.95) == 299
    assert upper_end(0, 299, 0.95) <= 0.01 < upper_end(0, 298, 0.95)


def test_nothing_is_known_of_no_record() -> None:
    """Every share is possible."""
    assert (exact(0, 0).low, exact(0, 0).high) == (0.0, 1.0)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    assert (difference(Pairs(0, 0, 0, 0)).low, difference(Pairs(0, 0, 0, 0)).high) == (-1.0, 1.0)


def test_independent_records_count_each() -> None:
    """Conversations of one record: about as many as there are; ten equal records of one conversation: one."""
    hits = np.random.default_rng(1).random(2000) < 0.3
    assert effective(hits, np.ones(2000)) == pytest.approx(2000, rel=1e-3)
    assert effective(hits * 10, np.full(2000, 10)) == pytest.approx(2000, rel=1e-3)
    shifts = np.random.default_rng(2).integers(-1, 2, 2000)
    assert effective(shifts, np.ones(2000), n_nonzero=int(np.count_nonzero(shifts))) == pytest.approx(2000, rel=1e-3)
    assert effective([0, 0, 0], [5, 5, 5]) == 3
    assert effective([1], [5]) == 1


def test_rows_are_as_many_as_their_ranks_are_apart() -> None:
    """Independent values count each, equal ones once a conversation, whatever their unit."""
    rng, groups = np.random.default_rng(5), np.repeat(np.arange(300), 10)
    values = rng.random(3000)
    assert alike(values, groups) == pytest.approx(3000, rel=0.1)
    assert alike(values, np.arange(3000)) == 3000
    assert alike(values[groups], groups) == pytest.approx(300, rel=0.01)
    assert alike(np.full(3000, -np.inf), groups) == 300
    half = np.where(rng.random(3000) < 0.5, values[groups], values)
    assert 300 < alike(half, groups) < 2000
    assert alike(half, groups) == pytest.approx(alike(half**3, groups))
    assert alike([0.5, 0.6], [1, 1]) == 1


def test_intervals_hold_as_often_as_they_say() -> None:
    """Of made-up traffic whose conversations agree with themselves, the truth lies inside about 95 times in 100; with
    records taken for independent it would not.
    """
    rng, holds, naive, n_runs = np.random.default_rng(3), 0, 0, 400
    for _ in range(n_runs):
        sizes = rng.integers(1, 20, 150)
        hits = rng.binomial(sizes, rng.beta(0.2, 1.8, 150))  # 10 %, strongly clustered
        n_hits, n = int(hits.sum()), int(sizes.sum())
        ours, plain = wilson(n_hits, n, n_effective=effective(hits, sizes)), wilson(n_hits, n)
        holds += ours.low <= 0.1 <= ours.high
        naive += plain.low <= 0.1 <= plain.high
    assert holds / n_runs > 0.92
    assert naive / n_runs < 0.85


def test_intervals_of_differences_hold_as_often_as_they_say() -> None:
    """The same of stop rates before and after, 10 and 7 %, of which most are the same records."""
    rng, holds, n_runs = np.random.default_rng(4), 0, 400
    for _ in range(n_runs):
        sizes = rng.integers(1, 20, 150)
        before = rng.binomial(sizes, rng.beta(0.2, 1.8, 150))
        both = rng.binomial(before, 0.6)
        after_only = rng.binomial(sizes - before, 0.01 / 0.9)
        pairs = Pairs(both.sum(), (before - both).sum(), after_only.sum(), (sizes - before - after_only).sum())
        found = difference(
            pairs, n_effective=effective(after_only - before + both, sizes, n_nonzero=pairs.before + pairs.after)
        )
        holds += found.low <= -0.03 <= found.high
    assert holds / n_runs > 0.92

"""Intervals for shares of records, without scipy. Records of one conversation are not independent of each other: every
interval takes the number of records that would tell as much if they were, `n_effective`.

Wilson's score interval for a share, Newcombe's hybrid of it for the difference of two shares of the same records (his
method 10), and the exact one of Clopper and Pearson. A bootstrap was not taken: where no record has changed, it would
say that none ever will.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, lgamma, log, log1p, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 0.95
"""Of all intervals that are not asked for by another level."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its interval.

    Attributes:
        value: the figure.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


def wilson(n_hits: float, n: float, *, n_effective: float | None = None, confidence: float = CONFIDENCE) -> Interval:
    """Return a share with Wilson's score interval; without any record it can be anything.

    Args:
        n_hits: records that have it.
        n: records.
        n_effective: independent records that would tell as much; None takes all as independent.
        confidence: of the two-sided interval, in (0, 1).
    """
    if not n:
        return Interval(0.0, 0.0, 1.0)
    share, m = n_hits / n, n_effective or n
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre, spread = share + z * z / (2 * m), z * sqrt(share * (1 - share) / m + z * z / (4 * m * m))
    scale = 1 + z * z / m
    low = max(0.0, (centre - spread) / scale) if n_hits > 0 else 0.0  # exactly: rounding would leave 1e-18
    high = min(1.0, (centre + spread) / scale) if n_hits < n else 1.0
    return Interval(share, low, high)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Records by what they were before and after.

    Attributes:
        both: hits both times.
        before: hits before only.
        after: hits after only.
        neither: hits at no time.
    """

    both: float
    before: float
    after: float
    neither: float

    @property
    def n(self) -> float:
        """All."""
        return self.both + self.before + self.after + self.neither


def difference(pairs: Pairs, *, n_effective: float | None = None, confidence: float = CONFIDENCE) -> Interval:
    """Return share after less share before, in [-1, 1], with Newcombe's interval for paired shares.

    Args:
        pairs: the records.
        n_effective: as in `wilson`.
        confidence: as in `wilson`.
    """
    n = pairs.n
    if not n:
        return Interval(0.0, -1.0, 1.0)
    after = wilson(pairs.both + pairs.after, n, n_effective=n_effective, confidence=confidence)
    before = wilson(pairs.both + pairs.before, n, n_effective=n_effective, confidence=confidence)
    phi, value = _correlation(pairs, (n_effective or n) / n), after.value - before.value
    down = _joined(after.value - after.low, before.high - before.value, phi)
    up = _joined(after.high - after.value, before.value - before.low, phi)
    return Interval(value, max(-1.0, value - down), min(1.0, value + up))


def _joined(one: float, other: float, phi: float) -> float:
    return sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))


def _correlation(pairs: Pairs, scale: float) -> float:
    """Return the correlation of both, corrected towards 0 as Newcombe does, of `scale` times the counts."""
    a, b, c, d = (scale * count for count in (pairs.both, pairs.before, pairs.after, pairs.neither))
    product = (a + b) * (c + d) * (a + c) * (b + d)
    if not product:
        return 0.0
    excess = a * d - b * c
    if excess > 0:
        excess = max(excess - (a + b + c + d) / 2, 0.0)
    return excess / sqrt(product)


def effective(totals: ArrayLike, sizes: ArrayLike, *, n_nonzero: float | None = None) -> float:
    """Return how many independent records tell as much about a mean as these, which come in conversations: the design
    effect of Kish. Never more than there are records.

    Args:
        totals: float64 [conversation], sums of what is averaged, of each record -1, 0 or 1.
        sizes: float64 [conversation], records, at least 1.
        n_nonzero: records that have -1 or 1; None where none has -1.
    """
    total, size = np.asarray(totals, np.float64), np.asarray(sizes, np.float64)
    k, n = len(size), float(size.sum())
    if k < 2:
        return float(k)
    mean = float(total.sum()) / n
    spread = k / (k - 1) * float(((total - mean * size) ** 2).sum()) / n**2
    if not spread:  # all alike: as many as there are conversations
        return float(k)
    alone = ((mean if n_nonzero is None else n_nonzero / n) - mean * mean) / n
    return min(n, max(1.0, alone / spread * n))


def alike(values: ArrayLike, groups: ArrayLike) -> float:
    """Return how many independent records tell as much as these, by how much the ranks of their values agree inside
    conversations (intraclass correlation): what to take where there are too few hits for `effective` to see it.

    Args:
        values: float64 [record], in any unit; infinite ones too.
        groups: int64 [record], number of the record's conversation.
    """
    _, place, ties = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    rank = (np.cumsum(ties) - (ties - 1) / 2)[place]
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    size = np.bincount(group)
    n, k = len(rank), len(size)
    if k in (n, 0, 1):
        return float(k)
    means = np.bincount(group, rank) / size
    between = float((size * (means - rank.mean()) ** 2).sum()) / (k - 1)
    within = float(((rank - means[group]) ** 2).sum()) / (n - k)
    of_size = float((size.astype(np.float64) ** 2).sum()) / n
    total = between + ((n - of_size) / (k - 1) - 1) * within
    correlation = min(1.0, max(0.0, (between - within) / total)) if total else 1.0
    return n / (1 + (of_size - 1) * correlation)


_PRECISION = 1e-10


def n_needed(target: float, confidence: float) -> int:
    """Return how many records without a hit it takes to show a share of at most `target`: 299 for 1 % at 95 %."""
    return ceil(log1p(-confidence) / log1p(-target))


def upper_end(n_hits: float, n: float, confidence: float) -> float:
    """Return the upper end of the exact one-sided interval of a share (Clopper and Pearson).

    Args:
        n_hits: records that have it, in [0, n]; an effective number need not be whole.
        n: records.
        confidence: in (0, 1).
    """
    return 1.0 if n_hits >= n else _beta_quantile(n_hits + 1, n - n_hits, confidence)


def lower_end(n_hits: float, n: float, confidence: float) -> float:
    """Return the lower end of the exact one-sided interval of a share; see `upper_end`."""
    return 0.0 if n_hits <= 0 else _beta_quantile(n_hits, n - n_hits + 1, 1 - confidence)


def exact(n_hits: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """Return a share with its exact two-sided interval (Clopper and Pearson)."""
    if not n:
        return Interval(0.0, 0.0, 1.0)
    one_sided = (1 + confidence) / 2
    return Interval(n_hits / n, lower_end(n_hits, n, one_sided), upper_end(n_hits, n, one_sided))


def _beta_quantile(a: float, b: float, share: float) -> float:
    low, high = 0.0, 1.0
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        if _beta_share(a, b, middle) < share:
            low = middle
        else:
            high = middle
    return high


def _beta_share(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(b, a, 1 - x)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    return front / _fraction(_terms(a, b, x))


def _terms(a: float, b: float, x: float) -> Sequence[float]:
    """Return the fraction's numerators, as many as it needs: their number grows with the root of the counts."""
    found = []
    for m in range(min(_MOST_TERMS, 30 + round(3 * sqrt(a + b)))):
        if m:
            found.append(m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)))
        found.append(-(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)))
    return found


_MOST_TERMS = 400
"""Enough for millions of records: tests/audit/test_intervals.py compares with scipy."""


def _fraction(numerators: Sequence[float]) -> float:
    """Return 1 + n0 / (1 + n1 / (1 + ...)), from its far end."""
    value = 1.0
    for numerator in reversed(numerators):
        value = 1.0 + numerator / value
    return value

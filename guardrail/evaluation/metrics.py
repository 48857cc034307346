"""Figures with intervals, from plain arrays: rates, F1, AUC. Pure functions; all intervals are 95 %.

Rates have Wilson's interval; F1 and AUC a percentile bootstrap over rows, with a fixed seed, so that the same input
gives the same figures. Rows are taken as independent: where many share a question, true intervals are wider.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

Z = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""

RESAMPLES = 1000
"""Bootstrap resamples; our own choice, the usual number."""

_SEED = 7


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: in [0, 1]; None when nothing can be said, such as the AUC of one class.
        low: lower end of the 95 % interval; None without a value.
        high: upper end.
        n: rows that the figure rests on.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


def nothing(n: int = 0) -> Estimate:
    """Return the estimate of what cannot be estimated."""
    return Estimate(None, None, None, n)


def rate(n_hits: int, n: int) -> Estimate:
    """Return a share of rows with Wilson's score interval."""
    if not n:
        return nothing()
    share = n_hits / n
    centre = share + Z * Z / (2 * n)
    spread = Z * sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return Estimate(share, max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale), n)


@dataclass(frozen=True, slots=True)
class Scores:
    """How well positives were found.

    Attributes:
        precision: share of true positives among the rows called positive.
        recall: share of the positives called positive.
        f1: harmonic mean of the two; None when there is no positive row.
    """

    precision: Estimate
    recall: Estimate
    f1: Estimate


def scores(gold: BoolArray, called: BoolArray) -> Scores:
    """Return precision, recall and F1.

    Args:
        gold: bool [row], truly positive.
        called: bool [row], called positive.
    """
    n_true = int((gold & called).sum())
    n_gold, n_called = int(gold.sum()), int(called.sum())
    return Scores(
        rate(n_true, n_called), rate(n_true, n_gold), _f1(n_true, n_gold - n_true, n_called - n_true, len(gold))
    )


def _f1(n_true: int, n_missed: int, n_false: int, n: int) -> Estimate:
    """F1 = 2 TP / (2 TP + FN + FP), with a bootstrap over the four cells of the table."""
    if not n_true + n_missed:
        return nothing(n)
    cells = np.array([n_true, n_missed, n_false, n - n_true - n_missed - n_false], np.float64)
    drawn = np.random.default_rng(_SEED).multinomial(n, cells / n, size=RESAMPLES)
    twice = 2.0 * drawn[:, 0]
    f1s = twice / np.maximum(1, twice + drawn[:, 1] + drawn[:, 2])
    low, high = np.quantile(f1s, (0.025, 0.975))
    return Estimate(2 * n_true / (2 * n_true + n_missed + n_false), float(low), float(high), n)


def auc(gold: BoolArray, score: FloatArray) -> Estimate:
    """Return the probability that a positive row scores above a negative one, ties counting half.

    Args:
        gold: bool [row], truly positive.
        score: float64 [row], higher is riskier.
    """
    n_positive, n_negative = int(gold.sum()), int((~gold).sum())
    if not n_positive or not n_negative:
        return nothing(len(gold))
    _, place = np.unique(score, return_inverse=True)
    n_scores, positives, negatives = int(place.max()) + 1, place[gold], place[~gold]
    rng = np.random.default_rng(_SEED)
    resampled = [_auc_of_places(_redrawn(positives, rng), _redrawn(negatives, rng), n_scores) for _ in range(RESAMPLES)]
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Estimate(_auc_of_places(positives, negatives, n_scores), float(low), float(high), len(gold))


def _redrawn(places: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    return places[rng.integers(0, len(places), len(places))]


def _auc_of_places(positives: NDArray[np.intp], negatives: NDArray[np.intp], n_scores: int) -> float:
    """Return the AUC from the rank of each positive's and each negative's score among the distinct scores."""
    p, n = np.bincount(positives, minlength=n_scores), np.bincount(negatives, minlength=n_scores)
    below = np.cumsum(n) - n
    return float((p * (below + n / 2)).sum() / (len(positives) * len(negatives)))

"""Whether a score means what it says: of the rows with p = 0.8, are 80 % harmful? Pure functions.

The calibration error (ECE) is the mean distance between the score and the share of harmful rows, over bins of equally
many rows. Rows with the same score share a bin, so that the order of rows changes nothing. With few rows it is too
high, even for a score that is right.
"""

from dataclasses import dataclass

import numpy as np

from guardrail.evaluation.metrics import (
    BoolArray,
    Drawn,
    Estimate,
    FloatArray,
    IntArray,
    Resamples,
    divided,
    nothing,
    share,
)

BINS = 10
"""Bins of equally many rows; our own choice, a usual number."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of like scores.

    Attributes:
        score: their mean score, in [0, 1].
        harmful: share of them that is harmful.
    """

    score: float
    harmful: Estimate


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far a score is from a probability.

    Attributes:
        error: the calibration error (ECE) over the bins, in [0, 1].
        brier: mean squared distance between the score and the label, in [0, 1].
        n_bins: bins that were asked for; where many rows have the same score, fewer are there.
        bins: from low scores to high ones.
    """

    error: Estimate
    brier: Estimate
    n_bins: int
    bins: tuple[Bin, ...]


def calibration(
    gold: BoolArray, score: FloatArray, clusters: IntArray, resamples: Resamples, n_bins: int = BINS
) -> Calibration:
    """Return how well a score is calibrated.

    Args:
        gold: bool [row], truly harmful.
        score: float64 [row], probability of harm, in [0, 1].
        clusters: int64 [row].
        resamples: of these rows.
        n_bins: bins of equally many rows.
    """
    n = len(gold)
    if not n:
        return Calibration(nothing(), nothing(), n_bins, ())
    place = _bins(score, n_bins)
    missed = np.zeros((n, n_bins + 2))
    missed[np.arange(n), place] = score - gold
    missed[:, n_bins] = (score - gold) ** 2
    missed[:, n_bins + 1] = 1.0
    drawn, all_rows = resamples.totals(missed), missed.sum(axis=0)
    error = Drawn(float(np.abs(all_rows[:n_bins]).sum() / n), _per_row(np.abs(drawn[:, :n_bins]).sum(axis=1), drawn), n)
    brier = Drawn(float(all_rows[n_bins] / n), _per_row(drawn[:, n_bins], drawn), n)
    bins = [
        Bin(float(score[inside].mean()), share(gold[inside], clusters[inside]))
        for one in range(n_bins)
        for inside in (place == one,)
        if inside.any()
    ]
    return Calibration(error.estimate(), brier.estimate(), n_bins, tuple(bins))


def _per_row(sums: FloatArray, drawn: FloatArray) -> FloatArray:
    return divided(sums, drawn[:, -1])


def _bins(score: FloatArray, n_bins: int) -> IntArray:
    """Return each row's bin, by the rank of its score among all rows."""
    rank = np.searchsorted(np.sort(score), score)
    return np.asarray(rank * n_bins // len(score), np.int64)

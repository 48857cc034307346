"""Figures with intervals, from plain arrays: rates, precision, recall, F1. Pure functions; all intervals are 95 %.

Rates have Wilson's interval, everything else a percentile bootstrap with a fixed seed, so that the same input gives the
same figures. Rows that share a question tell less than as many independent ones: where clusters are given, whole
clusters are drawn again, and rates take the number of rows that would tell as much (the design effect of Kish).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardrail.audit.intervals import effective, wilson

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

RESAMPLES = 1000
"""Bootstrap resamples; our own choice, the usual number."""

SEED = 7
"""Of all resamples; our own choice."""

_BLOCK_CELLS = 2**20
"""Weights of rows that are held at once; our own choice: a few megabytes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: the figure: in [0, 1] unless its place says otherwise (differences: [-1, 1]); None when nothing can be
            said, such as the AUC of one class.
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


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure, and what it would have been on each resample.

    Attributes:
        value: the figure; None when nothing can be said.
        draws: float64 [resample]; NaN where nothing could be said.
        n: rows that it rests on.
    """

    value: float | None
    draws: FloatArray
    n: int

    def estimate(self) -> Estimate:
        """Return the figure with its percentile interval."""
        known = self.draws[np.isfinite(self.draws)]
        if self.value is None or not len(known):
            return nothing(self.n)
        low, high = np.quantile(known, (0.025, 0.975))
        return Estimate(self.value, float(low), float(high), self.n)


def mean_of(figures: Sequence[Drawn]) -> Drawn:
    """Return the mean of the figures that have a value, each counting the same; they must be drawn independently."""
    known = [one for one in figures if one.value is not None]
    if not known:
        return Drawn(None, np.full(RESAMPLES, np.nan), 0)
    value = float(np.mean([one.value for one in known if one.value is not None]))
    return Drawn(value, np.mean([one.draws for one in known], axis=0), sum(one.n for one in known))


class Resamples:
    """How often each row is drawn in each resample; rows of a cluster are drawn together. Read-only once made."""

    def __init__(self, clusters: IntArray, *, seed: int = SEED) -> None:
        """Draw as many clusters as there are, `RESAMPLES` times.

        Args:
            clusters: int64 [row], number of the row's cluster; any numbers will do.
            seed: of the draws; figures that are averaged need different ones.
        """
        _, self.cluster = np.unique(clusters, return_inverse=True)
        k = int(self.cluster.max()) + 1 if len(clusters) else 0
        rng = np.random.default_rng(seed)
        self._counts = np.zeros((RESAMPLES, k), np.float32)
        for at in self._blocks(k):
            n = at.stop - at.start
            drawn = rng.integers(0, max(k, 1), (n, k)) + k * np.arange(n)[:, None]
            self._counts[at] = np.bincount(drawn.ravel(), minlength=n * k).reshape(n, k)

    def totals(self, columns: FloatArray) -> FloatArray:
        """Return the sums over the rows of each resample.

        Args:
            columns: float64 [row, figure], what is summed.

        Returns:
            float64 [resample, figure].
        """
        sums = np.zeros((self._counts.shape[1], columns.shape[1]))
        np.add.at(sums, self.cluster, columns)
        return np.asarray(self._counts @ sums.astype(np.float32), np.float64)

    def weights(self, rows: IntArray) -> Iterator[tuple[slice, FloatArray]]:
        """Yield how often some rows are drawn, a block of resamples at a time: float64 [resample, row]."""
        cluster = self.cluster[rows]
        for at in self._blocks(len(rows)):
            yield at, self._counts[at][:, cluster].astype(np.float64)

    @staticmethod
    def _blocks(width: int) -> Iterator[slice]:
        size = max(1, _BLOCK_CELLS // max(width, 1))
        for start in range(0, RESAMPLES, size):
            yield slice(start, min(start + size, RESAMPLES))


def independent(n: int) -> IntArray:
    """Return clusters of one row each."""
    return np.arange(n)


def rate(n_hits: float, n: float, *, n_effective: float | None = None) -> Estimate:
    """Return a share of rows with Wilson's score interval.

    Args:
        n_hits: rows that have it.
        n: rows.
        n_effective: independent rows that would tell as much; None takes all as independent.
    """
    if not n:
        return nothing()
    found = wilson(n_hits, n, n_effective=n_effective)
    return Estimate(found.value, found.low, found.high, int(n))


def share(hits: BoolArray, clusters: IntArray | None = None) -> Estimate:
    """Return the share of rows that have something, with Wilson's interval; see `rate`.

    Args:
        hits: bool [row], has it.
        clusters: int64 [row]; None takes the rows as independent.
    """
    if clusters is None or not len(hits):
        return rate(int(hits.sum()), len(hits))
    _, cluster = np.unique(clusters, return_inverse=True)
    totals, sizes = np.bincount(cluster, hits), np.bincount(cluster)
    alone = len(sizes) == len(hits)
    return rate(int(hits.sum()), len(hits), n_effective=None if alone else effective(totals, sizes))


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


def scores(gold: BoolArray, called: BoolArray, clusters: IntArray | None = None, f1: Drawn | None = None) -> Scores:
    """Return precision, recall and F1.

    Args:
        gold: bool [row], truly positive.
        called: bool [row], called positive.
        clusters: int64 [row]; None takes the rows as independent.
        f1: the F1, where it was drawn before.
    """
    if f1 is None:
        f1 = _f1_of_cells(gold, called) if clusters is None else draw_f1(gold, called, Resamples(clusters))
    inside = (None, None) if clusters is None else (clusters[called], clusters[gold])
    return Scores(share(gold[called], inside[0]), share(called[gold], inside[1]), f1.estimate())


def draw_f1(gold: BoolArray, called: BoolArray, resamples: Resamples) -> Drawn:
    """Return F1 = 2 TP / (2 TP + FN + FP) on all rows and on each resample; nothing without a positive row."""
    cells = np.column_stack([gold & called, gold ^ called, gold]).astype(np.float64)
    return (
        Drawn(_f1(cells.sum(axis=0)[None])[0], _f1(resamples.totals(cells)), len(gold)) if gold.any() else _none(gold)
    )


def draw_rate(hits: BoolArray, of: BoolArray, resamples: Resamples) -> Drawn:
    """Return the share of the rows `of` that have something, on all rows and on each resample."""
    if not of.any():
        return _none(of[of])
    totals = resamples.totals(np.column_stack([hits & of, of]).astype(np.float64))
    return Drawn(float((hits & of).sum() / of.sum()), divided(totals[:, 0], totals[:, 1]), int(of.sum()))


def divided(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Return part / whole, NaN where the whole is 0."""
    shares = np.full(len(whole), np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares


def _none(rows: BoolArray) -> Drawn:
    return Drawn(None, np.full(RESAMPLES, np.nan), len(rows))


def _f1(cells: FloatArray) -> FloatArray:
    """Return F1 from TP, FN + FP, and the positives; NaN without a positive."""
    found = divided(2 * cells[:, 0], 2 * cells[:, 0] + cells[:, 1])
    return np.where(cells[:, 2] > 0, found, np.nan)


def _f1_of_cells(gold: BoolArray, called: BoolArray) -> Drawn:
    """Return F1 with the bootstrap of independent rows: over the four cells of the table, whatever their number."""
    if not gold.any():
        return _none(gold)
    n = len(gold)
    n_true, n_wrong, n_missed = int((gold & called).sum()), int((gold ^ called).sum()), int((gold & ~called).sum())
    cells = np.array([n_true, n_missed, n_wrong - n_missed, n - n_true - n_wrong], np.float64)
    drawn = np.random.default_rng(SEED).multinomial(n, cells / n, size=RESAMPLES).astype(np.float64)
    table = np.column_stack([drawn[:, 0], drawn[:, 1] + drawn[:, 2], drawn[:, 0] + drawn[:, 1]])
    return Drawn(2 * n_true / (2 * n_true + n_wrong), _f1(table), n)

"""From outcomes to a figure: the mean over problems of the share of samples that are right, with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from guardrail.evaluation.metrics import Drawn, Estimate, FloatArray, Resamples, divided, independent, rate


@dataclass(frozen=True, slots=True)
class Score:
    """What one model reached at one task.

    Attributes:
        name: of the figure, such as "AIME-25 mean@16".
        ids: of the problems, in order.
        shares: of the samples of each problem that are right (or whatever is counted), in [0, 1].
        n_samples: a problem.
        counts: of what else happened, by name: answers cut off, answers without a result.
        weights: how much each problem counts; empty: all alike.
        drawn: overrides the mean with a figure that was computed otherwise, and its resamples.
    """

    name: str
    ids: tuple[str, ...]
    shares: tuple[float, ...]
    n_samples: int
    counts: dict[str, int] = field(default_factory=dict)
    weights: tuple[float, ...] = ()
    drawn: Drawn | None = None

    @property
    def value(self) -> Estimate:
        """The figure with its 95 % interval."""
        return self.drawn.estimate() if self.drawn else mean_at_k(self.shares, self.weights)


def mean_at_k(shares: Sequence[float], weights: Sequence[float] = ()) -> Estimate:
    """Return the mean over problems with a bootstrap over problems, all samples of a drawn problem with it.

    Where every problem came out alike there is nothing to draw, and a bootstrap would claim certainty: there it is
    Wilson's interval of as many independent answers as there are problems.

    Args:
        shares: one a problem, in [0, 1].
        weights: how much each counts; empty: all alike.
    """
    if shares and len({*shares}) == 1:
        return rate(sum(shares), len(shares))
    return _mean(np.array(shares, np.float64), _weights(shares, weights)).estimate()


def difference(after: Score, before: Score) -> Estimate:
    """Return after less before, in [-1, 1], over the problems that both have, with a paired bootstrap."""
    if after.drawn and before.drawn:
        value = None if after.drawn.value is None or before.drawn.value is None else (
            after.drawn.value - before.drawn.value
        )  # fmt: skip
        return Drawn(value, after.drawn.draws - before.drawn.draws, after.drawn.n).estimate()
    (new, old), shared = (_by_id(one) for one in (after, before)), [one for one in after.ids if one in before.ids]
    drawn = [_mean(np.array([one[key][0] for key in shared]), np.array([one[key][1] for key in shared]))
             for one in (new, old)]  # fmt: skip
    if drawn[0].value is None or drawn[1].value is None:
        return Drawn(None, np.full(1, np.nan), 0).estimate()
    return Drawn(drawn[0].value - drawn[1].value, drawn[0].draws - drawn[1].draws, len(shared)).estimate()


def _by_id(score: Score) -> dict[str, tuple[float, float]]:
    weights = _weights(score.shares, score.weights)
    return {key: (share, float(weight)) for key, share, weight in zip(score.ids, score.shares, weights, strict=True)}


def _weights(shares: Sequence[float], weights: Sequence[float]) -> FloatArray:
    return np.array(weights, np.float64) if weights else np.ones(len(shares))


def _mean(values: FloatArray, weights: FloatArray) -> Drawn:
    """Return a weighted mean and its resamples; equal numbers of problems are drawn alike, so that pairs stay pairs."""
    if not len(values):
        return Drawn(None, np.full(1, np.nan), 0)
    totals = Resamples(independent(len(values))).totals(np.column_stack([values * weights, weights]))
    return Drawn(float(values @ weights / weights.sum()), divided(totals[:, 0], totals[:, 1]), len(values))

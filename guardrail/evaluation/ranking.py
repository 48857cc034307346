"""How well a score ranks rows: AUC, average precision, recall at few false alarms, and the curves. Pure functions."""

from dataclasses import dataclass

import numpy as np

from guardrail.evaluation.metrics import (
    RESAMPLES,
    BoolArray,
    Drawn,
    Estimate,
    FloatArray,
    IntArray,
    Resamples,
    divided,
    independent,
)

FALSE_POSITIVES = 0.01
"""Share of safe rows called harmful at which the recall is told: about what people can bear. Our choice."""

CURVE_POINTS = 200
"""Most points of a curve that are kept for a picture; our choice."""

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well a score ranks harmful rows above harmless ones.

    Attributes:
        auc: probability that a positive row scores above a negative one, ties counting half.
        average_precision: mean of the precision over the recall's steps, as scikit-learn has it.
        recall_at_1: recall at the lowest threshold that calls at most 1 % of the negatives positive; rows with the same
            score are called alike.
    """

    auc: Drawn
    average_precision: Drawn
    recall_at_1: Drawn


def auc(gold: BoolArray, score: FloatArray, clusters: IntArray | None = None) -> Estimate:
    """Return the probability that a positive row scores above a negative one, ties counting half.

    Args:
        gold: bool [row], truly positive.
        score: float64 [row], higher is riskier.
        clusters: int64 [row]; None takes the rows as independent.
    """
    resamples = Resamples(independent(len(gold)) if clusters is None else clusters)
    return draw_ranking(gold, score, resamples).auc.estimate()


def draw_ranking(gold: BoolArray, score: FloatArray, resamples: Resamples) -> Ranking:
    """Return the figures of a ranking on all rows and on each resample; nothing where one class has no row.

    Args:
        gold: bool [row], truly positive.
        score: float64 [row], higher is riskier.
        resamples: of these rows.
    """
    n = len(gold)
    draws = np.full((3, RESAMPLES), np.nan)
    if not gold.any() or gold.all():
        return Ranking(*(Drawn(None, one, n) for one in draws))
    order = np.argsort(-score, kind="stable")
    starts = _tie_starts(score[order])
    is_positive = gold[order].astype(np.float64)
    for at, weights in resamples.weights(order):
        positives = np.add.reduceat(weights * is_positive, starts, axis=1)
        draws[:, at] = _figures(positives, np.add.reduceat(weights, starts, axis=1) - positives)
    positives = np.add.reduceat(is_positive, starts)[None]
    values = _figures(positives, np.add.reduceat(1 - is_positive, starts)[None])
    return Ranking(*(Drawn(float(value[0]), one, n) for value, one in zip(values, draws, strict=True)))


def roc(gold: BoolArray, score: FloatArray) -> Points:
    """Return the ROC curve, (share of the negatives, share of the positives) called positive, from (0, 0) to (1, 1);
    nothing where one class has no row.
    """
    if not gold.any() or gold.all():
        return ()
    positives, negatives = _called(gold, score)
    return _thinned(negatives / negatives[-1], positives / positives[-1])


def precision_recall(gold: BoolArray, score: FloatArray) -> Points:
    """Return the curve of (recall, precision), from few rows called positive to all; nothing without a positive."""
    if not gold.any():
        return ()
    positives, negatives = (called[1:] for called in _called(gold, score))
    return _thinned(positives / positives[-1], positives / (positives + negatives))


def _tie_starts(ordered: FloatArray) -> IntArray:
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def _called(gold: BoolArray, score: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return how many positives and negatives are called positive at each threshold, none first, all last."""
    order = np.argsort(-score, kind="stable")
    starts = _tie_starts(score[order])
    positives, negatives = (np.add.reduceat(one[order].astype(np.float64), starts) for one in (gold, ~gold))
    return np.concatenate([[0.0], positives.cumsum()]), np.concatenate([[0.0], negatives.cumsum()])


def _figures(positives: FloatArray, negatives: FloatArray) -> FloatArray:
    """Return AUC, average precision and recall at 1 % of false positives: float64 [figure, resample].

    Args:
        positives: float64 [resample, score], weight of the positives with each score, the highest first.
        negatives: the same of the negatives.
    """
    above, false_above = positives.cumsum(axis=1), negatives.cumsum(axis=1)
    n_positive, n_negative = above[:, -1], false_above[:, -1]
    won = (positives * (n_negative[:, None] - false_above + negatives / 2)).sum(axis=1)
    precision = above / np.maximum(above + false_above, 1e-12)
    # The slack keeps 1 of 100 within 1 %, whatever 0.01 is in binary.
    n_within = (false_above <= FALSE_POSITIVES * n_negative[:, None] + 1e-9).sum(axis=1)
    reached = np.concatenate([np.zeros((len(above), 1)), above], axis=1)[np.arange(len(above)), n_within]
    no_class = (n_positive == 0) | (n_negative == 0)
    found = np.stack([
        divided(won, n_positive * n_negative),
        divided((positives * precision).sum(axis=1), n_positive),
        divided(reached, n_positive),
    ])  # fmt: skip
    found[:, no_class] = np.nan
    return found


def _thinned(x: FloatArray, y: FloatArray) -> Points:
    """Return the points of a curve, both ends among them; of many, those next to equal steps along it."""
    if len(x) > CURVE_POINTS:
        along = np.concatenate([[0.0], np.hypot(np.diff(x), np.diff(y)).cumsum()])
        kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], CURVE_POINTS)).clip(0, len(x) - 1))
        x, y = x[kept], y[kept]
    return tuple(zip(x.tolist(), y.tolist(), strict=True))

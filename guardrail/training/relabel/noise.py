"""Which labels a teacher does not believe: estimates of noise, and rules for what may change. Arrays in, arrays out."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from guardrail.taxonomy import RiskLevel
from guardrail.training.learners.learning import LEVELS, FloatArray, Levels
from guardrail.training.relabel.settings import Pair, RelabelSettings

IntArray = NDArray[np.int8]
BoolArray = NDArray[np.bool_]


def joint_of(given: IntArray, probabilities: FloatArray) -> NDArray[np.float64]:
    """Return the estimated joint of given and true levels, float64 [given, true], summing to 1; of no rows all 0.

    Confident learning (Northcutt et al., JAIR 2021): rows are counted by `counted`, and each given level then weighs as
    much as it occurs.

    Args:
        given: int8 [row], column of the given label.
        probabilities: float32 [row, level], by a teacher that has not seen the row.
    """
    n_levels = probabilities.shape[1]
    true = counted(given, probabilities, np.ones((n_levels, n_levels), np.bool_))
    counts = np.zeros((n_levels, n_levels))
    np.add.at(counts, (given[true >= 0], true[true >= 0]), 1)
    rows = counts.sum(1, keepdims=True)
    by_given = np.divide(counts, rows, out=np.eye(n_levels), where=rows > 0)
    n_given = np.bincount(given, minlength=n_levels)
    joint: NDArray[np.float64] = by_given * (n_given / max(1, n_given.sum()))[:, None]
    return joint


def counted(given: IntArray, probabilities: FloatArray, allowed: BoolArray) -> IntArray:
    """Return int8 [row], the column that each row is counted as truly of; -1 for none.

    A row counts as of a level when its probability reaches the mean of the rows that are labelled so; of several such
    levels as of the most probable one.

    Args:
        given: int8 [row], column of the given label.
        probabilities: float32 [row, level].
        allowed: bool [given, true], levels that a row may count as.
    """
    levels = range(probabilities.shape[1])
    bars = [probabilities[given == level, level].mean() if (given == level).any() else np.inf for level in levels]
    reached = np.where((probabilities >= np.array(bars)) & allowed[given], probabilities, -1.0)
    return np.where(reached.max(1) >= 0, reached.argmax(1), -1).astype(np.int8)


def noise_of(joint: NDArray[np.float64]) -> float:
    """Return the estimated share of wrong labels."""
    return float(joint.sum() - np.trace(joint))


def changed(given: IntArray, probabilities: FloatArray, levels: Levels, settings: RelabelSettings) -> IntArray:
    """Return int8 [row], columns of the labels after the change by the rule of the settings.

    Args:
        given: int8 [row], column of the given label.
        probabilities: float32 [row, level].
        levels: names of the columns.
        settings: rule, margin and what may change.
    """
    allowed = np.array([[_may_move(old, new, settings.may_change) for new in levels] for old in levels])
    if settings.rule == "auto":
        true = counted(given, probabilities, allowed)
        return np.where(true >= 0, true, given).astype(np.int8)
    best = np.where(allowed[given], probabilities, -1.0).argmax(1)
    rows = np.arange(len(given))
    gain = probabilities[rows, best] - probabilities[rows, given]
    margin = settings.margin if settings.rule == "confident" else 0.0
    return np.where((gain > 0) & (gain >= margin), best, given).astype(np.int8)


def _may_move(old: RiskLevel, new: RiskLevel, pairs: Collection[Pair]) -> bool:
    mild, harsh = sorted((old, new), key=LEVELS.index)
    return old is new or f"{mild.value.lower()}-{harsh.value.lower()}" in pairs

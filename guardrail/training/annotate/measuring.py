"""How well levels agree with people's labels: macro F1 with an interval, calibration. Pure functions of arrays.

Intervals are 95 % and come from drawing families again, not rows: answers to one question are not independent.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardrail.evaluation.metrics import RESAMPLES, Estimate, nothing
from guardrail.training.annotate.aggregates import N_LEVELS, Floats
from guardrail.training.annotate.ballots import NONE

_SEED = 7
_AT_ONCE = 100
"""Resamples that are drawn at once."""

N_BINS = 10
"""Of the calibration curve; ours, the usual number."""


def macro_f1_of(confusions: Floats) -> Floats:
    """Return float64 [...]: the mean F1 of the levels that people gave.

    Args:
        confusions: float64 [..., people, called], counts.
    """
    right = np.diagonal(confusions, axis1=-2, axis2=-1)
    given, called = confusions.sum(-1), confusions.sum(-2)
    f1 = 2 * right / np.maximum(given + called, 1e-12)
    return np.asarray((f1 * (given > 0)).sum(-1) / np.maximum((given > 0).sum(-1), 1))


def macro_f1s(
    people: NDArray[np.int8], called: Mapping[str, NDArray[np.int8]], families: NDArray[np.int32]
) -> tuple[dict[str, Estimate], Floats]:
    """Return the macro F1 of several labellings of the same rows, and what was drawn for their intervals.

    Rows that a labelling leaves out do not count for it. Differences of columns of what was drawn are paired.

    Args:
        people: int8 [row], people's labels.
        called: by name, int8 [row].
        families: int32 [row], alike for rows of one family.

    Returns:
        Estimates by name, and float64 [resample, labelling].
    """
    names = list(called)
    if not len(people) or not names:
        return dict.fromkeys(names, nothing()), np.empty((0, len(names)))
    tables = _tables(people, np.stack([called[name] for name in names]), families)
    drawn = _redrawn(tables)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    whole = macro_f1_of(tables.sum(axis=0).reshape(-1, N_LEVELS, N_LEVELS))
    counts = [int((called[name] != NONE).sum()) for name in names]
    estimates = {
        name: Estimate(float(whole[i]), float(low[i]), float(high[i]), counts[i]) if counts[i] else nothing()
        for i, name in enumerate(names)
    }
    return estimates, drawn


def _tables(people: NDArray[np.int8], called: NDArray[np.int8], families: NDArray[np.int32]) -> Floats:
    """Return float64 [family, labelling * people * called]: each family's confusions."""
    _, family = np.unique(families, return_inverse=True)
    tables = np.zeros((family.max() + 1, len(called), N_LEVELS * N_LEVELS))
    for i, one in enumerate(called):
        rows = one != NONE
        np.add.at(tables, (family[rows], i, people[rows].astype(np.intp) * N_LEVELS + one[rows]), 1)
    return tables.reshape(len(tables), -1)


def _redrawn(tables: Floats) -> Floats:
    """Return float64 [resample, labelling]: macro F1 of families drawn with replacement."""
    # families with equal tables are exchangeable: how often each kind is drawn is multinomial
    kinds, counts = np.unique(tables, axis=0, return_counts=True)
    rng, found = np.random.default_rng(_SEED), []
    for start in range(0, RESAMPLES, _AT_ONCE):
        size = min(_AT_ONCE, RESAMPLES - start)
        times = rng.multinomial(len(tables), counts / len(tables), size=size)
        found.append(macro_f1_of((times @ kinds).reshape(size, -1, N_LEVELS, N_LEVELS)))
    return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether a confidence of 0.8 is right eight times in ten.

    Attributes:
        centres: of the bins of confidence.
        accuracy: share that is right in each bin; None for an empty one.
        n: rows in each bin.
        error: mean distance of accuracy and confidence, weighed by rows; None without rows.
    """

    centres: tuple[float, ...]
    accuracy: tuple[float | None, ...]
    n: tuple[int, ...]
    error: float | None


def calibration(people: NDArray[np.int8], called: NDArray[np.int8], confidence: NDArray[np.float32]) -> Calibration:
    """Return how confidence and accuracy go together, over rows that have a level."""
    rows = called != NONE
    right, sure = (called == people)[rows], confidence[rows].astype(np.float64)
    place = np.minimum((sure * N_BINS).astype(np.intp), N_BINS - 1)
    n = np.bincount(place, minlength=N_BINS)
    n_right, total = np.bincount(place, right, N_BINS), np.bincount(place, sure, N_BINS)
    accuracy = tuple(float(a / b) if b else None for a, b in zip(n_right, n, strict=True))
    error = float(np.abs(n_right - total).sum() / n.sum()) if n.sum() else None
    centres = tuple(round((i + 0.5) / N_BINS, 3) for i in range(N_BINS))
    return Calibration(centres, accuracy, tuple(map(int, n)), error)

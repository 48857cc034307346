"""Balance: rows are left out until no value has more of them than it may; none is ever taken twice."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from guardrail.training.mix.settings import DIMENSIONS, OTHERS, Caps, Shares
from guardrail.training.mix.survey import Survey

_MOST_ROUNDS = 100
"""Leaving out by one dimension changes the shares of another: so often it is tried to meet them all. Our choice."""

_TOLERANCE = 1e-9
"""By which shares that are written to add up to 1 may miss it."""


def balance(survey: Survey, most: Caps, shares: Shares) -> list[str]:
    """Leave out what is too much, whole families first, people's labels last; return warnings.

    Which rows stay depends on their families and the seed alone, not on their order.
    """
    order = np.lexsort(
        (survey.columns["id"], survey.columns["root"], survey.columns["balance_place"], ~survey.columns["is_human"])
    )
    ranks = np.empty(len(survey), np.int64)
    ranks[order] = np.arange(len(survey))
    warnings: list[str] = []
    for _ in range(_MOST_ROUNDS):
        n_before = np.count_nonzero(survey.kept)
        for dimension in DIMENSIONS:
            limits = _caps(survey, dimension, getattr(most, dimension))
            _leave_out(survey, dimension, limits, ranks, "cap")
        for dimension in DIMENSIONS:
            if wanted := getattr(shares, dimension):
                _leave_out(survey, dimension, _share_caps(survey, dimension, wanted, warnings), ranks, "share")
        if np.count_nonzero(survey.kept) == n_before:
            return sorted(set(warnings))
    return [*sorted(set(warnings)), "The shares of several dimensions could not all be met; another mix may meet them."]


def limits_for(counts: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the most rows of each value so that as many rows as possible are kept and no value exceeds its share.

    Args:
        counts: rows of each value, int64 [value].
        shares: largest share of each, float64 [value]; of the values that have rows they add up to 1 or more.
    """
    total = float(counts.sum())
    has_share = shares > 0
    order = np.argsort(counts[has_share] / shares[has_share], kind="stable")
    sizes, weights = counts[has_share][order].astype(float), shares[has_share][order]
    met, open_ = 0.0, float(weights.sum())
    for size, weight in zip(sizes, weights, strict=True):
        # the whole of which all values so far are less than their share, and all others exactly it
        if open_ < 1 - _TOLERANCE and met / (1 - open_) <= size / weight:
            total = min(total, met / (1 - open_))
            break
        met, open_ = met + size, open_ - weight
    else:
        total = min(total, met)
    # a part of a row is rounded up: rounding down would shrink the whole, and so the next round's limits, for ever
    return np.where(has_share, np.ceil(shares * total - 1e-6), 0).astype(np.int64)


def _caps(survey: Survey, dimension: str, most: Mapping[str, int]) -> NDArray[np.int64]:
    others = most.get(OTHERS, len(survey))
    return np.array([most.get(name, others) for name in survey.names[dimension]], np.int64)


def _share_caps(survey: Survey, dimension: str, wanted: Mapping[str, float], warnings: list[str]) -> NDArray[np.int64]:
    names = survey.names[dimension]
    counts = np.bincount(survey.columns[dimension][survey.kept], minlength=len(names)).astype(np.int64)
    shares = np.array([wanted.get(name, wanted.get(OTHERS, 1.0)) for name in names])
    reached = float(shares[counts > 0].sum())
    if 0 < reached < 1 - _TOLERANCE:
        warnings.append(
            f"The shares by {dimension} leave room for values that have no rows: those of the others were raised to 1."
        )
        shares = shares / reached
    return limits_for(counts, shares)


def _leave_out(survey: Survey, dimension: str, limits: NDArray[np.int64], ranks: NDArray[np.int64], kind: str) -> None:
    codes, kept = survey.columns[dimension], survey.kept
    counts = np.bincount(codes[kept], minlength=len(limits))
    for value in np.flatnonzero(counts > limits):
        places = np.flatnonzero(kept & (codes == value))
        spare = places[np.argsort(ranks[places])][limits[value] :]
        survey.drop(spare, f"{kind}: {dimension} {survey.names[dimension][value]}")

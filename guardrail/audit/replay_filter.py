"""Which recorded tokens can matter to a gate, found for a whole answer at once: the others are never fed to it."""

import numpy as np
from numpy.typing import NDArray

from guardrail.policy import Rules
from guardrail.records.positions import Positions
from guardrail.taxonomy import RiskLevel


def probabilities(positions: Positions) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probability of Unsafe and that of Controversial or Unsafe, float64 [position] each, as verdicts do."""
    risks = positions.labels.risks
    unsafe = positions.risk[:, risks.index(RiskLevel.UNSAFE)].astype(np.float64)
    return unsafe, positions.risk[:, risks.index(RiskLevel.CONTROVERSIAL)].astype(np.float64) + unsafe


def levels(rules: Rules, positions: Positions) -> NDArray[np.int8]:
    """Return the rank of each position's risk level, int8 [position]: `Rules.level` of all of them at once."""
    if rules.unsafe_threshold is None and rules.non_safe_threshold is None:
        of_index = np.array([level.rank for level in positions.labels.risks], np.int8)
        likeliest: NDArray[np.int8] = of_index[positions.risk.argmax(axis=1)]
        return likeliest
    unsafe, non_safe = probabilities(positions)
    ranks: NDArray[np.int8] = np.where(unsafe >= rules.from_unsafe, 2, non_safe >= rules.from_non_safe).astype(np.int8)
    return ranks


def deciding(rules: Rules, positions: Positions) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which positions a gate must be fed to come to what it comes to when it is fed all: bool [position] each.

    A Safe token ends every run and clears the text up to itself. Of a stretch of them the last one is enough, and those
    before it that clear more than the next one does, as a token may that stands before one reaching back.

    Returns:
        Those that must be fed, and those that must even when no later run can count any more.
    """
    cleared = np.where(positions.is_complete, positions.end, positions.start)
    clearing = np.ones(len(positions), np.bool_)
    clearing[:-1] = cleared[:-1] > cleared[1:]
    is_safe = levels(rules, positions) == RiskLevel.SAFE.rank
    ends = np.ones(len(positions), np.bool_)
    ends[:-1] = ~is_safe[1:]
    return ~is_safe | ends | clearing, clearing

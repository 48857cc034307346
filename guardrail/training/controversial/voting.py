"""The vote of a loose and a strict classifier, and how Safe-enriched the loose one should be: arrays in, arrays out.

Which is which: the reference's report once names the strict part Safe-enriched, against its own figure and the
paragraph before. More Safe makes borderline rows Safe, so the Safe-enriched classifier is the loose one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from guardrail.taxonomy import RiskLevel
from guardrail.training.learners.learning import LEVELS, FloatArray

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int8]

_SAFE, _CONTROVERSIAL, _UNSAFE = (
    LEVELS.index(level) for level in (RiskLevel.SAFE, RiskLevel.CONTROVERSIAL, RiskLevel.UNSAFE)
)


@dataclass(frozen=True, slots=True)
class Vote:
    """What the two say of rows.

    Attributes:
        level: int8 [row], index into `LEVELS`: the level that both agree on, else Controversial.
        is_crossed: bool [row], whether the loose one says Unsafe and the strict one Safe: a conflict the wrong way
            round, which tells of noise.
    """

    level: IntArray
    is_crossed: BoolArray

    @property
    def is_conflict(self) -> BoolArray:
        """Bool [row], whether they disagree."""
        return np.asarray(self.level == _CONTROVERSIAL)


def vote(loose: FloatArray, strict: FloatArray) -> Vote:
    """Return the vote of two probabilities of Unsafe, float32 [row] each; one half and more is Unsafe."""
    is_loose, is_strict = loose >= 0.5, strict >= 0.5
    level = np.where(is_loose & is_strict, _UNSAFE, np.where(is_loose | is_strict, _CONTROVERSIAL, _SAFE))
    return Vote(level.astype(np.int8), is_loose & ~is_strict)


def relabelled(level: IntArray, votes: Vote, agreed: Literal["keep", "vote"]) -> IntArray:
    """Return int8 [row]: the labels after the vote.

    Args:
        level: int8 [row], the labels before it.
        votes: on the same rows.
        agreed: see the settings.
    """
    return votes.level if agreed == "vote" else np.where(votes.is_conflict, votes.level, level).astype(np.int8)


@dataclass(frozen=True, slots=True)
class Point:
    """What one share of Safe would do.

    Attributes:
        safe_share: of the loose classifier's weight.
        conflict: share of the rows that may change on which the two disagree.
        crossed: share of them on which they disagree the wrong way round.
        f1: by level, in the order of `LEVELS`, on people's labels; None where nobody measured.
    """

    safe_share: float
    conflict: float
    crossed: float
    f1: tuple[float, float, float] | None = None

    @property
    def macro_f1(self) -> float | None:
        """Mean F1 of the three levels."""
        return None if self.f1 is None else sum(self.f1) / len(self.f1)


Objective = Literal["macro_f1", "share", "given"]
"""By what a point is chosen: the first two as in the settings; "given" if there is but one."""


def choose(points: Sequence[Point], objective: Objective, most_controversial: float) -> tuple[Point, bool]:
    """Return the point to take, and whether it does as it should.

    Of equal points that with the lowest share is taken. Never by the F1 of Controversial alone: that is highest where
    most rows are in conflict.
    """
    ordered = sorted(points, key=lambda point: point.safe_share)
    if objective == "given":
        return ordered[0], True
    if objective == "macro_f1":
        return max(ordered, key=lambda point: point.macro_f1 or 0.0), True
    below = [point for point in ordered if point.conflict <= most_controversial]
    return (below[-1], True) if below else (ordered[0], False)


def f1_by_level(gold: IntArray, called: IntArray) -> tuple[float, float, float]:
    """Return the F1 of each level, in the order of `LEVELS`; 0 where it neither occurs nor is called."""
    scores = []
    for level in range(len(LEVELS)):
        both = int(((gold == level) & (called == level)).sum())
        either = int((gold == level).sum() + (called == level).sum())
        scores.append(2 * both / either if either else 0.0)
    return scores[0], scores[1], scores[2]

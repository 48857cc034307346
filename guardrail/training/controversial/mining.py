"""One kind of rows mined: the classifiers of both halves, the search over shares, and the vote."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.taxonomy import RiskLevel
from guardrail.training.controversial.settings import ControversialSettings
from guardrail.training.controversial.voting import (
    BoolArray,
    IntArray,
    Objective,
    Point,
    Vote,
    choose,
    f1_by_level,
    relabelled,
    vote,
)
from guardrail.training.learners.crossing import Survey, Teaching, Weighing, cross, levels_of
from guardrail.training.learners.learning import LEVELS, FloatArray, Learner, Levels, Progress
from guardrail.training.recipe.stage import Rows

BINARY: Levels = (RiskLevel.SAFE, RiskLevel.UNSAFE)
"""What the classifiers tell apart. Rows that are Controversial already teach neither: they are what is looked for."""


@dataclass(frozen=True, slots=True)
class Mined:
    """What became of the labelled rows of one kind.

    Attributes:
        target: the kind.
        places: int64 [voted row], where they stand among all rows.
        loose: float32 [voted row], probability of Unsafe by the Safe-enriched classifier.
        strict: float32 [voted row], by the Unsafe-enriched one.
        votes: of the two.
        before: int8 [voted row], the labels.
        after: int8 [voted row], the labels after the vote; people's are the same.
        is_human: bool [voted row], whether a person gave the label.
        points: of the search, by rising share.
        chosen: the point taken.
        objective: see `Objective`.
        is_met: whether it does as the objective asks.
    """

    target: Direction
    places: np.ndarray[tuple[int], np.dtype[np.int64]]
    loose: FloatArray
    strict: FloatArray
    votes: Vote
    before: IntArray
    after: IntArray
    is_human: BoolArray
    points: tuple[Point, ...]
    chosen: Point
    objective: Objective
    is_met: bool


def mine(
    target: Direction, rows: Rows, survey: Survey, learner: Learner, settings: ControversialSettings, progress: Progress
) -> Mined | None:
    """Return what became of the rows of one kind; None if there are too few to learn from in a half.

    Raises:
        ConfigurationError: the share is to be chosen by people's labels, and they lack a level.
    """
    voted = survey.of_target(target) & survey.is_labelled
    levels = levels_of(survey, voted, settings.least_rows)
    if not set(BINARY) <= set(levels):
        return None
    shares = sorted(set(settings.safe_shares))
    objective = _objective(target, survey.level[voted & survey.is_human], settings) if len(shares) > 1 else "given"
    teaching = Teaching(target.value, voted, settings.learner.max_rows, settings.salt)
    found = cross(learner, rows, survey, teaching, voted, BINARY, _weighings(shares, settings), progress)
    return _decide(target, survey, voted, shares, found[..., 1], objective, settings)


def _weighings(shares: Sequence[float], settings: ControversialSettings) -> list[Weighing]:
    """Return the loose classifiers by rising share of Safe, then the strict ones, which mirror them."""
    safe, unsafe = BINARY
    return [
        Weighing(f"{name}-{share:g}", {rich: share, poor: 1 - share}, settings.around == "rows", settings.drawn)
        for name, rich, poor in (("loose", safe, unsafe), ("strict", unsafe, safe))
        for share in shares
    ]


def _decide(
    target: Direction, survey: Survey, voted: BoolArray, shares: Sequence[float], unsafe: FloatArray,
    objective: Objective, settings: ControversialSettings,
) -> Mined:  # fmt: skip
    before, is_human = survey.level[voted], survey.is_human[voted]
    pairs = list(zip(unsafe[: len(shares)], unsafe[len(shares) :], strict=True))
    points = tuple(
        _point(share, vote(*pair), before, is_human, is_measured=_has_three(before[is_human], settings.least_rows))
        for share, pair in zip(shares, pairs, strict=True)
    )
    chosen, is_met = choose(points, objective, settings.most_controversial)
    loose, strict = pairs[points.index(chosen)]
    votes = vote(loose, strict)
    after = np.where(is_human, before, relabelled(before, votes, settings.agreed)).astype(np.int8)
    return Mined(
        target, np.flatnonzero(voted), loose, strict, votes, before, after, is_human, points, chosen,
        objective, is_met,
    )  # fmt: skip


def _objective(target: Direction, human: IntArray, settings: ControversialSettings) -> Objective:
    if settings.objective == "share":
        return "share"
    if _has_three(human, settings.least_rows):
        return "macro_f1"
    if settings.objective == "auto":
        return "share"
    raise ConfigurationError(
        f"controversial: people's labels of {target.value}s lack {settings.least_rows} rows of one of the three "
        'levels, so objective = "macro_f1" has nothing to go by',
        hint='set objective = "auto" or "share", or leave this kind out of targets',
    )


def _has_three(human: IntArray, least: int) -> bool:
    """Return whether people's labels hold enough of each level."""
    return bool((np.bincount(human, minlength=len(LEVELS)) >= least).all())


def _point(safe_share: float, votes: Vote, before: IntArray, is_human: BoolArray, *, is_measured: bool) -> Point:
    """Return what a share would do; each row was voted on by classifiers of the half that it is not in."""
    free = ~is_human
    n_free = max(1, int(free.sum()))
    f1 = f1_by_level(before[is_human], votes.level[is_human]) if is_measured else None
    return Point(
        safe_share,
        float((votes.is_conflict & free).sum() / n_free),
        float((votes.is_crossed & free).sum() / n_free),
        f1,
    )

"""One kind of rows reread: teachers of both halves, the noise they point to, and the labels that change."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardrail.decision import Direction
from guardrail.training.learners.crossing import Survey, Teaching, Weighing, cross, levels_of
from guardrail.training.learners.learning import LEVELS, FloatArray, Learner, Levels, Progress
from guardrail.training.recipe.stage import Rows
from guardrail.training.relabel.noise import IntArray, changed, joint_of
from guardrail.training.relabel.settings import RelabelSettings


@dataclass(frozen=True, slots=True)
class Reread:
    """What a teacher made of the rows of one kind that it may change.

    Attributes:
        target: the kind.
        places: int64 [row], where they stand among all rows.
        levels: that were taught.
        before: int8 [row], column of the label.
        after: int8 [row], column of the label afterwards.
        probabilities: float32 [row, level].
        joint: float64 [given, true], see `joint_of`.
    """

    target: Direction
    places: NDArray[np.int64]
    levels: Levels
    before: IntArray
    after: IntArray
    probabilities: FloatArray
    joint: NDArray[np.float64]

    @property
    def gain(self) -> FloatArray:
        """Float32 [row], how much likelier the teacher holds the label afterwards than the one before."""
        rows = np.arange(len(self.before))
        found: FloatArray = self.probabilities[rows, self.after] - self.probabilities[rows, self.before]
        return found


@dataclass(frozen=True, slots=True)
class Unread:
    """Labelled rows of one kind that no teacher was made for.

    Attributes:
        target: the kind.
        why: for the report.
    """

    target: Direction
    why: str


def reread(
    target: Direction, rows: Rows, survey: Survey, learner: Learner, settings: RelabelSettings, progress: Progress
) -> Reread | Unread:
    """Return what the teachers make of the rows of one kind, if there are enough to teach and any to change."""
    labelled = survey.of_target(target) & survey.is_labelled
    levels = levels_of(survey, labelled, settings.least_rows)
    if len(levels) < 2:
        return Unread(target, f"fewer than two levels have {settings.least_rows} rows in each half; none was read")
    columns = [LEVELS.index(level) for level in levels]
    scored = labelled & ~survey.is_human & np.isin(survey.level, columns)
    if not scored.any():
        names = " and ".join(level.value for level in levels)
        return Unread(target, f"all labels of {names} are people's; there is nothing to change")
    teaching = Teaching(target.value, labelled, settings.learner.max_rows, settings.salt)
    found = cross(learner, rows, survey, teaching, scored, levels, [Weighing("teacher")], progress)[0]
    before = np.searchsorted(columns, survey.level[scored]).astype(np.int8)
    joint = joint_of(before, found)
    after = changed(before, found, levels, settings)
    return Reread(target, np.flatnonzero(scored), levels, before, after, found, joint)

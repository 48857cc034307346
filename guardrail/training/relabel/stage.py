"""The stage: a teacher of each half reads the other one, and the labels that it does not believe change by rule."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from guardrail.audit.pages.figures import Summary
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.training.learners.changing import Changes, hand_on
from guardrail.training.learners.crossing import UNLABELLED, survey
from guardrail.training.learners.learning import LEVELS, check_learner, open_learner
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import RecipeSettings
from guardrail.training.recipe.stage import Estimate, Job, Profile, Rows
from guardrail.training.relabel.report import summarise
from guardrail.training.relabel.rereading import Reread, Unread, reread
from guardrail.training.relabel.settings import RelabelSettings

NOTE = "relabelled"
"""Key of `meta` under which a changed row says what it was, and how probable the teacher held the old and the new
level."""


@dataclass(frozen=True)
class RelabelStage:
    """Implements `Stage`; it asks no model of the recipe."""

    settings: RelabelSettings
    materials: Mapping[str, str] = field(default_factory=dict)
    name: str = "relabel"
    version: int = 1
    models: tuple[str, ...] = ()

    def run(self, job: Job) -> Summary:
        """Read the labelled rows with a teacher of the other half, and hand on all rows."""
        surveyed = survey(job.rows, self.settings.salt)
        learner = open_learner(self.settings.learner, job.folder / "learners", job.seed)
        kinds = [
            reread(target, job.rows, surveyed, learner, self.settings, job.progress)
            for target in map(Direction, self.settings.targets)
            if (surveyed.of_target(target) & surveyed.is_labelled).any()
        ]
        found = [kind for kind in kinds if isinstance(kind, Reread)]
        unread = [kind for kind in kinds if isinstance(kind, Unread)]
        changes = Changes()
        job.write(_handed_on(job.rows, found, changes), changes.counts)
        return summarise(found, unread, changes, self.settings, job.rows)

    def estimate(self, profile: Profile) -> Estimate:
        """Return that it costs no calls."""
        return Estimate({}, profile, ("relabel asks no model; how many labels it changes is not foreseen",))


def make(settings: RelabelSettings, recipe: RecipeSettings) -> RelabelStage:
    """Return the stage.

    Raises:
        ConfigurationError: no kind of rows or no change is allowed, the halves are those of `controversial`, or a
            learner lacks its checkpoint.
    """
    if not settings.targets or not settings.may_change:
        raise ConfigurationError("relabel: targets and may_change must name at least one each")
    if recipe.controversial is not None and recipe.controversial.salt == settings.salt:
        raise ConfigurationError(
            "relabel and controversial have the same salt, hence the same halves",
            hint="give relabel.salt another value: its teachers must not be those that mined the rows",
        )
    return RelabelStage(settings, check_learner(settings.learner, "relabel"))


def _handed_on(rows: Rows, found: Sequence[Reread], changes: Changes) -> Iterator[RecipeRow]:
    """Yield all rows with the labels after the change."""
    after = np.full(len(rows), UNLABELLED, np.int8)
    believed = np.zeros((2, len(rows)), np.float32)
    for one in found:
        after[one.places] = np.array([LEVELS.index(level) for level in one.levels])[one.after]
        each = np.arange(len(one.places))
        believed[:, one.places] = one.probabilities[each, one.before], one.probabilities[each, one.after]

    def note(place: int) -> Mapping[str, float]:
        return {"old": round(float(believed[0, place]), 4), "new": round(float(believed[1, place]), 4)}

    return hand_on(rows, after, NOTE, note, changes)

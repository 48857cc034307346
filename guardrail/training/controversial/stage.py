"""The stage: votes on every labelled row, and hands on all rows, those with another label with a note of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from guardrail.audit.pages.figures import Summary
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.training.controversial.mining import Mined, mine
from guardrail.training.controversial.report import summarise
from guardrail.training.controversial.settings import ControversialSettings
from guardrail.training.learners.changing import Changes, hand_on
from guardrail.training.learners.crossing import UNLABELLED, survey
from guardrail.training.learners.learning import check_learner, open_learner
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import RecipeSettings
from guardrail.training.recipe.stage import Estimate, Job, Profile, Rows

NOTE = "mined"
"""Key of `meta` under which a changed row says what it was, and what both classifiers gave for Unsafe."""

MOST_SFT_SHARES = 3
"""Shares that may be tried by fine-tuning: each takes a loose and a strict one for each half and kind. Our choice."""


@dataclass(frozen=True)
class ControversialStage:
    """Implements `Stage`; it asks no model of the recipe."""

    settings: ControversialSettings
    materials: Mapping[str, str] = field(default_factory=dict)
    name: str = "controversial"
    version: int = 1
    models: tuple[str, ...] = ()

    def run(self, job: Job) -> Summary:
        """Vote on the rows that have a label, and hand on all rows."""
        surveyed = survey(job.rows, self.settings.salt)
        learner = open_learner(self.settings.learner, job.folder / "learners", job.seed)
        targets = [Direction(name) for name in self.settings.targets]
        mined = {
            target: mine(target, job.rows, surveyed, learner, self.settings, job.progress)
            for target in targets
            if (surveyed.of_target(target) & surveyed.is_labelled).any()
        }
        changes = Changes()
        found = [one for one in mined.values() if one is not None]
        job.write(_handed_on(job.rows, found, changes), changes.counts)
        return summarise(found, [target for target, one in mined.items() if one is None], changes, self.settings)

    def estimate(self, profile: Profile) -> Estimate:
        """Return that it costs no calls."""
        return Estimate({}, profile, ("controversial asks no model; how many labels it changes is not foreseen",))


def make(settings: ControversialSettings, recipe: RecipeSettings) -> ControversialStage:  # noqa: ARG001  # as all stages
    """Return the stage.

    Raises:
        ConfigurationError: no share or no kind of rows to vote on, a learner without its checkpoint, or a search that
            would be dozens of fine-tunings.
    """
    if not settings.safe_shares or not settings.targets:
        raise ConfigurationError("controversial: safe_shares and targets must name at least one each")
    n_shares = len(set(settings.safe_shares))
    if settings.learner.kind == "sft" and n_shares > MOST_SFT_SHARES:
        raise ConfigurationError(
            f"controversial: {n_shares} safe_shares are {4 * n_shares * len(settings.targets)} fine-tunings with a "
            f'learner of kind "sft", and {2 * n_shares} networks in memory at once',
            hint=f'name at most {MOST_SFT_SHARES}, such as those that a search with kind = "tfidf" found best',
        )
    return ControversialStage(settings, check_learner(settings.learner, "controversial"))


def _handed_on(rows: Rows, mined: Sequence[Mined], changes: Changes) -> Iterator[RecipeRow]:
    """Yield all rows with the labels after the vote."""
    after = np.full(len(rows), UNLABELLED, np.int8)
    unsafe = np.zeros((2, len(rows)), np.float32)
    for one in mined:
        free = ~one.is_human
        after[one.places[free]] = one.after[free]
        unsafe[:, one.places] = one.loose, one.strict

    def note(place: int) -> Mapping[str, float]:
        return {"loose": round(float(unsafe[0, place]), 4), "strict": round(float(unsafe[1, place]), 4)}

    return hand_on(rows, after, NOTE, note, changes)

"""`mix`: the training set out of all that was made, balanced, without duplicates and leaks, split by families.

The reference publishes neither its filters nor its splits (only the shares of languages, prompts and answers): all
rules here are ours. Rows are read three times, and only numbers are held of them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from guardrail.audit.pages.figures import Summary
from guardrail.errors import ConfigurationError
from guardrail.file_hash import hash_file
from guardrail.taxonomy import RiskLevel
from guardrail.training.mix.settings import MixSettings
from guardrail.training.mix.splits import SPLITS, split_rows
from guardrail.training.mix.survey import RISKS, Survey, Surveyor
from guardrail.training.recipe.parts import told
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import RecipeSettings
from guardrail.training.recipe.stage import Estimate, Job, Profile
from guardrail.training.recipe.stages import stages_of
from guardrail.whole_files import write_whole

CARD = "DATA_CARD.md"
CLEARED = "kinds of harm of safe rows cleared"


@dataclass(frozen=True, slots=True)
class MixStage:
    """Implements `Stage`; it asks no model.

    Attributes:
        settings: of the stage.
        before: names of the stages that the recipe sets up before it.
    """

    settings: MixSettings
    before: tuple[str, ...] = ()
    name: str = "mix"
    version: int = 1
    models: tuple[str, ...] = ()

    @property
    def materials(self) -> Mapping[str, str]:
        """SHA-256 of the evaluation sets."""
        return {f"evaluation: {name}": hash_file(path) for name, path in sorted(self.settings.evaluation.items())}

    def run(self, job: Job) -> Summary:
        """Hand on the mix, and write its splits and its data card beside it."""
        from guardrail.training.mix.balance import balance
        from guardrail.training.mix.card import Cleaning, manifests_beside, write_card
        from guardrail.training.mix.counts import count_mix
        from guardrail.training.mix.repeats import drop_repeats
        from guardrail.training.mix.report import summarise, warnings_of
        from guardrail.training.mix.split_files import write_splits

        survey, evaluation = self._survey(job)
        if not self.settings.keep_unlabelled:
            survey.drop(survey.columns["risk"] == RISKS.index("none"), "no label")
        tell = job.progress("comparing rows", len(job.rows))
        met = drop_repeats(survey, job.rows, self.settings.duplicate_threshold, job.folder, tell)
        warnings = balance(survey, self.settings.most, self.settings.shares)
        splits, n_families = split_rows(survey, self.settings.validation, self.settings.test)
        dropped = survey.dropped()
        told_of = Counter({f"dropped: {reason}": n for reason, n in dropped.items()})
        job.write(_kept_rows(job, splits, told_of), told_of)
        write_splits(job.folder)
        counts = count_mix(survey, splits, n_families)
        labelled = met[1:, 1:]
        n_conflicts = int(labelled.sum() - np.trace(labelled))
        cleaning = Cleaning(len(survey), dropped, n_conflicts, evaluation, told_of[CLEARED])
        card = write_card(counts, cleaning, self.settings, manifests_beside(job.folder, self.before))
        write_whole(job.folder / CARD, card.encode(errors="surrogatepass"))
        return summarise(survey, counts, cleaning, met, warnings + warnings_of(counts, self.settings))

    def estimate(self, profile: Profile) -> Estimate:
        """Return that it costs no call."""
        said = "mix asks no model; what duplicates, leaks and caps cost is known only afterwards"
        return Estimate({}, profile, (said,))

    def _survey(self, job: Job) -> tuple[Survey, Mapping[str, int]]:
        """Return what is to be known of the rows, leaks left out, and how many rows the evaluation sets have."""
        from guardrail.training.mix.leaks import EvaluationTexts, drop_families, leak_reason

        theirs = EvaluationTexts(self.settings.evaluation, self.settings.leak_threshold)
        surveyor, leaks = Surveyor(len(job.rows), job.seed), {}
        tell = job.progress("looking at rows", len(job.rows))
        for place, row in enumerate(told(job.rows, tell)):
            surveyor.add(row)
            if theirs.names and (found := theirs.find(row)):
                leaks[place] = leak_reason(*found)
        survey = surveyor.survey()
        for reason in sorted(set(leaks.values())):
            survey.drop(np.array([place for place, why in leaks.items() if why == reason]), reason)
        drop_families(survey)
        return survey, theirs.n_rows


def make(settings: MixSettings, recipe: RecipeSettings) -> MixStage:
    """Return the stage, set up.

    Raises:
        ConfigurationError: the splits take more than everything, or an evaluation set is no file.
    """
    if settings.validation + settings.test >= 1:
        raise ConfigurationError("validation and test leave nothing to train on", hint="their sum must be below 1")
    for name, path in settings.evaluation.items():
        if not path.is_file():
            raise ConfigurationError(f"the evaluation set {name} is no file: {path}", hint="see [mix.evaluation]")
    return MixStage(settings, tuple(name for name in stages_of(recipe) if name != "mix"))


def _kept_rows(job: Job, splits: NDArray[np.int8], told_of: Counter[str]) -> Iterator[RecipeRow]:
    """Yield what is kept, with its split; what is safe is of no kind of harm, whatever the inputs say."""
    tell = job.progress("writing rows", len(job.rows))
    for row, split in zip(told(job.rows, tell), splits.tolist(), strict=True):
        if split >= 0:
            is_cleared = row.risk is RiskLevel.SAFE and bool(row.categories)
            told_of[CLEARED] += is_cleared
            yield replace(row, split=SPLITS[split], categories=() if is_cleared else row.categories)

"""The stage `annotate`: labels by a panel, put together by what people's labels say of its members.

As in Qwen3Guard's report: several models with instructions of their own for prompts and for answers, a vote tuned on a
small set that people labelled, a target F1 of 0.9 there, category and refusal as most say. Ours: how the vote is
weighed and tuned, that one half of people's labels teaches and the other one measures, and all numbers besides.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from guardrail.audit.pages.figures import Summary
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.training.annotate.ballots import SALT, read_ballots
from guardrail.training.annotate.costs import estimate
from guardrail.training.annotate.labelling import labelled
from guardrail.training.annotate.report import summarise
from guardrail.training.annotate.settings import AnnotateSettings
from guardrail.training.annotate.voting import VOTES, Annotator, Voting, instructions
from guardrail.training.annotate.weighing import label, learn
from guardrail.training.recipe.prompts import load_prompts
from guardrail.training.recipe.rows import half_of
from guardrail.training.recipe.settings import RecipeSettings
from guardrail.training.recipe.stage import Estimate, Job, Profile

_GUARD_KINDS = ("guard", "endpoint", "function")
"""Kinds of models that can answer as a guard does."""


@dataclass(frozen=True, slots=True)
class Annotate:
    """The stage, set up; implements `Stage`.

    Attributes:
        settings: of the stage.
        annotators: the panel, in the order of their names.
    """

    settings: AnnotateSettings
    annotators: tuple[Annotator, ...]
    name: str = "annotate"
    version: int = 1

    @property
    def models(self) -> tuple[str, ...]:
        """See `Stage`."""
        return tuple(sorted({annotator.model for annotator in self.annotators}))

    @property
    def materials(self) -> Mapping[str, str]:
        """See `Stage`: the prompts of each annotator as they are sent, with the taxonomy in them."""
        return {
            f"prompts of {annotator.name}": _digest(
                *(instructions(annotator.prompts, target) for target in (Direction.PROMPT, Direction.RESPONSE)),
                annotator.prompts.texts["conversation"],
            )
            for annotator in self.annotators
            if annotator.prompts
        }

    def run(self, job: Job) -> Summary:
        """See `Stage`.

        Raises:
            ConfigurationError: the votes are to be weighed by people's labels and there are none to learn from.
        """
        self._need_people(job)
        voting = Voting(self.annotators, takes_all=self.settings.votes_for == "all")
        voted = job.map(VOTES, job.rows, voting, n_items=len(job.rows))
        ballots = read_ballots(voted, [annotator.name for annotator in self.annotators], voting.is_voted)
        has_people = bool((ballots.known & (ballots.half == 0)).any())
        tune = self.settings.tune and has_people
        weighings = learn(ballots, self.settings.aggregate, self.settings, tune=tune, seed=job.seed)
        labels = label(ballots, weighings, self.settings.min_votes)
        counts: Counter[str] = Counter()
        job.write(labelled(voted, ballots, labels, counts, overwrite=self.settings.overwrite), counts)
        return summarise(ballots, labels, self.settings, job.seed, counts + Counter(voted.counts))

    def estimate(self, profile: Profile) -> Estimate:
        """See `Stage`."""
        return estimate(self.settings, self.annotators, profile)

    def _need_people(self, job: Job) -> None:
        """Refuse before anything is paid for."""
        if self.settings.aggregate in ("majority", "dawid_skene"):
            return
        if not any(row.is_human and row.risk and half_of(row.root, SALT) == 0 for row in job.rows):
            raise ConfigurationError(
                f"annotate: {self.settings.aggregate!r} weighs the votes by people's labels, and there are none",
                hint='add an input with is_human = true, or set aggregate = "dawid_skene" or "majority"',
            )


def make(settings: AnnotateSettings, recipe: RecipeSettings) -> Annotate:
    """Return the stage.

    Raises:
        ConfigurationError: the panel is smaller than the votes that a label needs, the recipe does not have a model or
            one that can do its part, prompts cannot be used, or labels are to be replaced that nobody votes on.
    """
    if len(settings.annotators) < settings.min_votes:
        raise ConfigurationError(
            f"annotate: {len(settings.annotators)} annotators cannot give {settings.min_votes} votes",
            hint="add sections [annotate.annotators.NAME], or lower min_votes",
        )
    if settings.overwrite and settings.votes_for != "all":
        raise ConfigurationError("annotate: overwrite replaces labels by votes", hint='set votes_for = "all"')
    found = [_annotator(name, settings, recipe) for name in sorted(settings.annotators)]
    return Annotate(settings, tuple(found))


def _annotator(name: str, settings: AnnotateSettings, recipe: RecipeSettings) -> Annotator:
    who = settings.annotators[name]
    key = who.model or name
    model = recipe.models.get(key)
    if model is None:
        raise ConfigurationError(f"annotate: no model {key!r}", hint=f"models: {', '.join(recipe.models) or 'none'}")
    if who.kind == "guard" and (model.kind not in _GUARD_KINDS or who.prompts):
        raise ConfigurationError(
            f"annotate: annotator {name!r} is no guard: its model is of kind {model.kind!r}, or it has prompts",
            hint=f"a guard is of kind {', '.join(_GUARD_KINDS)}, and knows its policy",
        )
    if who.kind == "llm" and model.kind == "guard":
        raise ConfigurationError(f"annotate: {key!r} is a guard and follows no prompts", hint='set kind = "guard"')
    if who.kind == "guard":
        return Annotator(name, key, None, settings.max_tokens)
    prompts = load_prompts("annotate", who.prompts)
    prompts.fill("conversation", turns="")
    for target in (Direction.PROMPT, Direction.RESPONSE):
        instructions(prompts, target)  # tried before anything is paid for
    return Annotator(name, key, prompts, settings.max_tokens)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()

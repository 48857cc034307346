"""The stage `respond`: answers to prompts, from models that comply, that refuse and that think aloud.

The report used a base model (Qwen2.5-72B-Base) for unsafe answers and QwQ, Qwen3, DeepSeek-R1 and distilled models for
reasoning. How they were prompted and sampled is not published: all of that is ours.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from guardrail.audit.pages.figures import Summary
from guardrail.errors import ConfigurationError
from guardrail.training.recipe.prompts import Prompts, load_prompts
from guardrail.training.recipe.settings import RecipeSettings
from guardrail.training.recipe.stage import CHARS_PER_TOKEN, OUTPUT, Estimate, Job, Profile, Stage, Usage
from guardrail.training.respond.answering import Answering
from guardrail.training.respond.report import report
from guardrail.training.respond.settings import AnswererSettings, RespondSettings

_THINKING = 4
"""Tokens that a reasoning model writes for each token of its answer, for estimates. A guess of ours."""


@dataclass(frozen=True, slots=True)
class Respond:
    """See `Stage`."""

    settings: RespondSettings
    prompts: Prompts
    name: str = "respond"
    version: int = 1

    @property
    def models(self) -> tuple[str, ...]:
        """See `Stage`."""
        return tuple(dict.fromkeys(who.model for who in self.settings.answerers))

    @property
    def materials(self) -> Mapping[str, str]:
        """See `Stage`."""
        return {"prompts": self.prompts.sha256}

    def run(self, job: Job) -> Summary:
        """See `Stage`."""
        rows = job.map(OUTPUT, job.rows, Answering(self.settings, self.prompts, job.seed), n_items=len(job.rows))
        return report(self.settings, rows.counts)

    def estimate(self, profile: Profile) -> Estimate:
        """See `Stage`."""
        n_prompts = profile.n_prompts * self.settings.share
        usage: dict[str, Usage] = {}
        for who in self.settings.answerers:
            n_calls = n_prompts * who.share * who.samples
            n_input = profile.prompt_tokens + len(self.prompts.texts[who.mode]) / CHARS_PER_TOKEN
            n_output = profile.response_tokens * (1 + _THINKING * (who.mode == "reasoning"))
            answer = Usage(1, n_input, min(n_output, who.max_tokens))
            usage[who.model] = usage.get(who.model, Usage()).plus(answer, n_calls)
        n_made = sum(one.n_calls for one in usage.values())
        after = replace(
            profile, n_responses=profile.n_responses + n_made, n_unlabelled=profile.n_unlabelled + n_made
        )  # fmt: skip
        told = (
            f"every prompt passes the filters of respond, and an answer has {profile.response_tokens:g} tokens",
            f"a reasoning model thinks {_THINKING} tokens for each token of its answer",
        )
        return Estimate(usage, after, told)


def make(settings: RespondSettings, recipe: RecipeSettings) -> Stage:
    """Return the stage.

    Raises:
        ConfigurationError: nobody answers, the recipe does not have a model or one that cannot do it, two answerers
            have one name, or several samples are to be drawn without chance.
    """
    if not settings.answerers:
        raise ConfigurationError("respond has nobody who answers", hint="add [[respond.answerers]] with model and mode")
    twice = [name for name, n in Counter(who.label for who in settings.answerers).items() if n > 1]
    if twice:
        raise ConfigurationError(f"respond: two answerers are called {twice[0]!r}", hint="give one of them a `name`")
    for who in settings.answerers:
        _check(who, settings, recipe)
    return Respond(settings, load_prompts("respond", settings.prompts))


def _check(who: AnswererSettings, settings: RespondSettings, recipe: RecipeSettings) -> None:
    model = recipe.models.get(who.model)
    if model is None:
        known = ", ".join(recipe.models) or "none"
        raise ConfigurationError(f"respond: no model {who.model!r}", hint=f"models of the recipe: {known}")
    if model.kind == "guard":
        raise ConfigurationError(f"respond: {who.model!r} is a guard, which does not answer", hint="use another kind")
    if who.samples > 1 and who.temperature == 0:
        raise ConfigurationError(
            f"respond: {who.samples} samples of {who.label!r} at temperature 0 are the same answer",
            hint="set samples to 1, or a temperature above 0",
        )
    if who.mode == "base" and not settings.stop:
        raise ConfigurationError("respond: a base model needs texts that end its answer", hint="set `stop`")

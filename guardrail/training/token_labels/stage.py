"""The stage `token_labels`: which token of a risky answer is the first risky one.

As in Qwen3Guard's report: several models write on from a beginning of the answer; where a guard judges at least 85 % of
beginning and rollout unsafe or controversial, and a judge that reads the beginning alone agrees, the answer has turned
risky. The first such token and all later ones carry the label of the answer, those before it Safe. A row without such a
token is left out and counted. Ours: the order of the questions, the modes, all numbers besides the 85 %, and that
thinking is neither rolled out nor judged: the onset is one of the answer.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import nsmallest
from importlib.resources import files

from guardrail.audit.pages.figures import Summary
from guardrail.errors import CheckpointError, ConfigurationError
from guardrail.training.recipe.prompts import Prompts, load_prompts
from guardrail.training.recipe.rows import place_of
from guardrail.training.recipe.settings import RecipeSettings
from guardrail.training.recipe.stage import OUTPUT, Estimate, Job, Profile
from guardrail.training.token_labels.costs import estimate
from guardrail.training.token_labels.onsets import FindOnset, is_asked_about
from guardrail.training.token_labels.report import summarise
from guardrail.training.token_labels.settings import TokenLabelsSettings


@dataclass(frozen=True, slots=True)
class TokenLabels:
    """The stage, set up; implements `Stage`.

    Attributes:
        settings: of the stage.
        prompts: sent to models.
        tokenizer: text of the guard's tokenizer.json.
    """

    settings: TokenLabelsSettings
    prompts: Prompts
    tokenizer: str = field(repr=False)
    name: str = "token_labels"
    version: int = 1

    @property
    def models(self) -> tuple[str, ...]:
        """See `Stage`."""
        return models_of(self.settings)

    @property
    def materials(self) -> Mapping[str, str]:
        """See `Stage`."""
        tokenizer = hashlib.sha256(self.tokenizer.encode()).hexdigest()
        return {"prompts": self.prompts.sha256, "tokenizer.json": tokenizer}

    def run(self, job: Job) -> Summary:
        """Label the rows of a job; see `Stage`."""
        salt = f"token_labels compare {job.seed}"
        work = FindOnset(self.settings, self.prompts, self.tokenizer, self._compared_below(job, salt), salt)
        rows = job.map(OUTPUT, job.rows, work, n_items=len(job.rows))
        return summarise(rows.counts, self.settings)

    def estimate(self, profile: Profile) -> Estimate:
        """See `Stage`."""
        return estimate(self.settings, profile)

    def _compared_below(self, job: Job, salt: str) -> float:
        """Return the highest place of the rows that are done in both modes; -1 for none."""
        if not self.settings.compare:
            return -1.0
        asked = (place_of(row.id, salt) for row in job.rows if is_asked_about(row, self.settings.spans))
        return max(nsmallest(self.settings.compare, asked), default=-1.0)


def make(settings: TokenLabelsSettings, recipe: RecipeSettings) -> TokenLabels:
    """Return the stage.

    Raises:
        ConfigurationError: the settings name no model that the rule needs, or one that cannot do its part.
        CheckpointError: the tokenizer's file cannot be read.
    """
    needed = {"rollouts": settings.rollouts, "guard": settings.guard, "judge": settings.judge}
    unneeded = {"both": (), "rollouts": ("judge",), "judge": ("rollouts", "guard")}[settings.rule]
    if missing := [name for name, value in needed.items() if not value and name not in unneeded]:
        raise ConfigurationError(f"token_labels: rule {settings.rule!r} needs {', '.join(missing)}")
    for name in models_of(settings):
        if name not in recipe.models:
            known = ", ".join(sorted(recipe.models)) or "none"
            raise ConfigurationError(
                f"token_labels: no model is called {name!r}", hint=f"models of the recipe: {known}"
            )
    _check_kinds(settings, recipe)
    return TokenLabels(settings, load_prompts("token_labels", settings.prompts), _tokenizer_text(settings))


def models_of(settings: TokenLabelsSettings) -> tuple[str, ...]:
    """Return the names of the models that the rule asks, each once."""
    rollouts = [*(model.model for model in settings.rollouts), settings.guard] if settings.rule != "judge" else []
    return tuple(dict.fromkeys([*rollouts, *([settings.judge] if settings.rule != "rollouts" else [])]))


def _check_kinds(settings: TokenLabelsSettings, recipe: RecipeSettings) -> None:
    writers = [model.model for model in settings.rollouts] if settings.rule != "judge" else []
    if settings.rule != "rollouts" and settings.judge_form == "chat":
        writers.append(settings.judge)
    for name in writers:
        if recipe.models[name].kind == "guard":
            hint = 'as a judge it needs judge_form = "guard"; rollouts need a language model'
            raise ConfigurationError(f"token_labels: {name!r} is a guard, which writes no text", hint=hint)


def _tokenizer_text(settings: TokenLabelsSettings) -> str:
    path = settings.tokenizer or files("guardrail.assets").joinpath("default", "tokenizer.json")
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {path.name}: {type(error).__name__}") from error

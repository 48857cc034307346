"""The stage `translate`: rows in other languages, each checked, and a sample of them for people.

The report translated with Qwen-MT to 15 more languages, looked for mixed languages, let an LLM judge, and had people
review a random sample. Prompts, thresholds, bounds and sizes are not published: all of them are ours.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import compress

from guardrail.audit.pages.figures import Summary
from guardrail.errors import ConfigurationError
from guardrail.training.recipe.prompts import Prompts, load_prompts
from guardrail.training.recipe.settings import RecipeSettings
from guardrail.training.recipe.stage import CHARS_PER_TOKEN, Estimate, Job, Profile, Stage, Usage
from guardrail.training.translate.settings import TranslateSettings

SHEET = "sheet.csv"

_LONGER = 1.5
"""Tokens of a translation over its English source's, for estimates. A guess of ours: it depends on the tokenizer."""

_VERDICT_TOKENS = 12


@dataclass(frozen=True, slots=True)
class Translate:
    """See `Stage`; `rejected` holds the translations that people found wrong, by id."""

    settings: TranslateSettings
    prompts: Prompts
    rejected: Mapping[str, str] = field(default_factory=dict)
    reviewed_sha256: str = ""
    name: str = "translate"
    version: int = 1

    @property
    def models(self) -> tuple[str, ...]:
        """See `Stage`."""
        return tuple(dict.fromkeys(name for name in (self.settings.model, self.settings.judge) if name))

    @property
    def materials(self) -> Mapping[str, str]:
        """See `Stage`."""
        reviewed = {"reviewed": self.reviewed_sha256} if self.reviewed_sha256 else {}
        return {"prompts": self.prompts.sha256, **reviewed}

    def run(self, job: Job) -> Summary:
        """See `Stage`."""
        from guardrail.training.translate.choice import Choice
        from guardrail.training.translate.merging import Merge, Sample
        from guardrail.training.translate.report import report
        from guardrail.training.translate.sheet import write_sheet
        from guardrail.training.translate.translating import Translating

        choice = Choice.of(self.settings, job.seed, job.rows)
        is_chosen = bytes(bool(choice.langs_of(row)) for row in job.rows)
        work = Translating(choice, self.prompts)
        made = job.map("translated", compress(job.rows, is_chosen), work, n_items=sum(is_chosen))
        merge = Merge(self.rejected, self.settings.by_family, Counter(made.counts))
        sample = Sample(self.settings.sheet_rows, job.seed)
        merged = merge.rows(job.rows, made, merge.partners_of(made), sample)
        job.write(merged, merge.counts)
        if entries := sample.entries():
            write_sheet(job.folder / SHEET, entries)
        return report(self.settings, merge.counts, sheet=SHEET if entries else "", n_rejected=len(self.rejected))

    def estimate(self, profile: Profile) -> Estimate:
        """See `Stage`."""
        rows, settings = profile.n_prompts + profile.n_responses, self.settings
        share = sum(settings.shares.get(lang, settings.share) for lang in settings.langs)
        if settings.n_rows:
            share = len(settings.langs) * min(1.0, settings.n_rows / max(1.0, rows))
        n_calls = rows * share
        n_tokens = profile.prompt_tokens + profile.response_tokens * profile.n_responses / max(1.0, rows)
        texts = {name: len(self.prompts.texts[name]) / CHARS_PER_TOKEN for name in ("translate", "judge")}
        usage = {
            settings.model: Usage(n_calls, n_calls * (texts["translate"] + n_tokens), n_calls * _LONGER * n_tokens)
        }
        if settings.judge:
            verdict = Usage(1, texts["judge"] + (1 + _LONGER) * n_tokens, _VERDICT_TOKENS)
            usage[settings.judge] = usage.get(settings.judge, Usage()).plus(verdict, n_calls)
        told = (
            f"a translation has {_LONGER:g} times the tokens of its source, and all are kept and judged",
            "every row is in a language that is translated, and none is too long",
        )
        return Estimate(usage, profile.scaled(1 + share), told)


def make(settings: TranslateSettings, recipe: RecipeSettings) -> Stage:
    """Return the stage.

    Raises:
        ConfigurationError: the recipe lacks a model, or has a guard for it; no language, one of them twice or without a
            name; values for a language that is not translated to; bounds that no length meets; or a sheet that cannot
            be read, or lies where this run writes its own.
    """
    for role, name in (("model", settings.model), ("judge", settings.judge)):
        if (name or role == "model") and (name not in recipe.models or recipe.models[name].kind == "guard"):
            known = ", ".join(one for one, model in recipe.models.items() if model.kind != "guard") or "none"
            raise ConfigurationError(f"translate: {role} {name!r} is no model that chats", hint=f"there are: {known}")
    _check_langs(settings)
    if settings.min_ratio >= settings.max_ratio:
        raise ConfigurationError("translate: min_ratio is not below max_ratio", hint="no length would do")
    prompts = load_prompts("translate", settings.prompts)
    if settings.reviewed is None:
        return Translate(settings, prompts)
    if settings.reviewed.resolve().is_relative_to((recipe.output / "translate").resolve()):
        raise ConfigurationError(
            f"translate: the reviewed {settings.reviewed.name} lies in the folder that this run makes anew",
            hint="copy it out of there, and name the copy in `reviewed`",
        )
    from guardrail.training.translate.sheet import read_sheet

    wrong = {one.id: one.translation for one in read_sheet(settings.reviewed) if one.verdict not in ("", "ok")}
    return Translate(settings, prompts, wrong, hashlib.sha256(settings.reviewed.read_bytes()).hexdigest())


def _check_langs(settings: TranslateSettings) -> None:
    from guardrail.training.translate.languages import base_code, name_of

    if not settings.langs:
        raise ConfigurationError("translate has no language to translate to", hint='set `langs`, such as ["de", "zh"]')
    if len(set(settings.langs)) < len(settings.langs):
        raise ConfigurationError("translate: a language stands in `langs` twice")
    for name in ("names", "shares", "thresholds"):
        known = {*settings.langs, *map(base_code, settings.langs)} if name == "thresholds" else set(settings.langs)
        if unknown := sorted(set(getattr(settings, name)) - known):
            raise ConfigurationError(f"translate: {name} has {unknown[0]!r}, which is not in `langs`")
    for lang in settings.langs:
        if not name_of(lang) and lang not in settings.names:
            raise ConfigurationError(f"translate: no name for {lang!r}", hint="give it one: [translate.names]")

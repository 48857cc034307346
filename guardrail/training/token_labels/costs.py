"""What the stage would cost, mode by mode, before anyone is asked."""

from collections.abc import Mapping
from math import log2

from guardrail.training.recipe.stage import Estimate, Profile, Usage
from guardrail.training.token_labels.settings import Mode, TokenLabelsSettings

ONSET_SHARE = 0.5
"""Share of the answer that stands before its onset. Our guess."""

SENTENCE_TOKENS = 20
"""Tokens of a sentence. Our guess."""

ROLLED_OUT_PLACES = 1.5
"""Places of an answer whose rollouts are asked for: mostly the judge's first place alone. Our guess."""

JUDGE_TOKENS = 350
"""Tokens of our instructions to the judge. Counted with the embedded tokenizer; larger vocabularies need fewer."""

READING_TOKENS = 10
"""Tokens of the judge's answer. Our guess."""

GUARD_TOKENS = 600
"""Tokens of the policy text that surrounds what a Qwen3Guard-Gen judges. Counted as above."""

JUDGEMENT_TOKENS = 20
"""Tokens of a guard's judgement. Our guess."""


def estimate(settings: TokenLabelsSettings, profile: Profile) -> Estimate:
    """Return what the answers that are labelled risky cost in the chosen mode, compared rows in mode "exact" too."""
    n_rows = profile.n_risky_responses
    chosen, exact = usage_of_row(settings, profile, settings.mode), usage_of_row(settings, profile, "exact")
    usages: dict[str, Usage] = {}
    for n, usage_by_model in ((n_rows, chosen), (min(settings.compare, n_rows), exact)):
        for model, usage in usage_by_model.items():
            usages[model] = usages.get(model, Usage()).plus(usage, n)
    exhaustive = n_rows * _exhaustive(settings, profile)
    guesses = (
        f"every answer has its onset after {ONSET_SHARE:.0%} of its tokens, sentences have "
        f"{SENTENCE_TOKENS}, and {ROLLED_OUT_PLACES} places an answer are rolled out; none of these is known before."
    )
    modes = (
        f"mode {settings.mode!r} takes {n_rows * _n_calls(chosen):,.0f} calls, mode 'exact' would take "
        f"{n_rows * _n_calls(exact):,.0f}, and both signs at every token of every answer {exhaustive:,.0f}."
    )
    return Estimate(usages, profile, (guesses, modes, "no row is taken to be dropped for want of an onset."))


def usage_of_row(settings: TokenLabelsSettings, profile: Profile, mode: Mode) -> dict[str, Usage]:
    """Return calls and tokens of one answer, by model."""
    n_read = n_places(settings, profile.response_tokens, mode)
    n_rolled = {"both": ROLLED_OUT_PLACES, "rollouts": n_read, "judge": 0.0}[settings.rule]
    prefix = profile.prompt_tokens + profile.response_tokens * ONSET_SHARE
    usages: dict[str, Usage] = {}
    if settings.rule != "rollouts":
        around = JUDGE_TOKENS if settings.judge_form == "chat" else GUARD_TOKENS
        written = READING_TOKENS if settings.judge_form == "chat" else JUDGEMENT_TOKENS
        usages[settings.judge] = Usage().plus(Usage(1, around + prefix, written), n_read)
    for model in settings.rollouts if n_rolled else ():
        k = model.samples
        rollout = Usage(1, prefix, k * model.max_tokens)
        judgements = Usage(k, k * (GUARD_TOKENS + prefix + model.max_tokens), k * JUDGEMENT_TOKENS)
        for name, usage in ((model.model, rollout), (settings.guard, judgements)):
            usages[name] = usages.get(name, Usage()).plus(usage, n_rolled)
    return usages


def n_places(settings: TokenLabelsSettings, n_tokens: float, mode: Mode) -> float:
    """Return at how many places of an answer the first sign is asked for."""
    before = n_tokens * ONSET_SHARE
    if mode == "exact":
        return before
    stretch = min(n_tokens, settings.stride if mode == "stride" else min(SENTENCE_TOKENS, settings.longest_stretch))
    return before / max(stretch, 1.0) + log2(max(stretch, 1.0))


def _exhaustive(settings: TokenLabelsSettings, profile: Profile) -> float:
    """Return the calls of one answer when both signs are asked for at every token, as the reference describes it."""
    n_rollouts = sum(1 + model.samples for model in settings.rollouts)
    return profile.response_tokens * (n_rollouts + (settings.rule == "both"))


def _n_calls(usages: Mapping[str, Usage]) -> float:
    return sum(usage.n_calls for usage in usages.values())

"""Checks of a translation that need no model, cheap ones first."""

from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.training.translate.languages import base_code
from guardrail.training.translate.mixing import Mix, mix_of
from guardrail.training.translate.scripts import weight
from guardrail.training.translate.settings import TranslateSettings
from guardrail.training.translate.thresholds import LEAST_CONFIDENCE, OTHER, threshold_of


@dataclass(frozen=True, slots=True)
class Finding:
    """What the checks say of a conversation's translation.

    Attributes:
        flaw: why it is left out; empty if it passed.
        share: largest share of another language in a text of it, in [0, 1]; None if its language was not looked at.
    """

    flaw: str
    share: float | None = None


def check(
    sources: Sequence[str], texts: Sequence[str], lang: str, source_lang: str, settings: TranslateSettings
) -> Finding:
    """Return the first flaw of a translation.

    Args:
        sources: the texts that were translated, none of them blank.
        texts: their translations.
        lang: language of these.
        source_lang: language of the sources.
        settings: with the bounds.
    """
    if not all(text.strip() for text in texts):
        return Finding("empty translation")
    if not settings.min_ratio <= _ratio(sources, texts) <= settings.max_ratio:
        return Finding("length out of bounds")
    shares = []
    for source, text in zip(sources, texts, strict=True):
        mix = mix_of(text, lang, source, source_lang)
        if mix.n_letters < settings.min_letters:
            continue
        shares.append(mix.share)
        if _letters(source) == _letters(text):
            return Finding("not translated", max(shares))
        if flaw := _language_flaw(mix, threshold_of(base_code(lang), settings.thresholds)):
            return Finding(flaw, max(shares))
    return Finding("", max(shares, default=None))


def _ratio(sources: Sequence[str], texts: Sequence[str]) -> float:
    return sum(map(weight, texts)) / max(1, sum(map(weight, sources)))


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _language_flaw(mix: Mix, threshold: float) -> str:
    if mix.share > OTHER or mix.confidence < LEAST_CONFIDENCE:
        return "wrong language"
    return "mixed languages" if mix.share > threshold else ""

"""Readers of benchmarks of a user message and its answer, either of which may be judged."""

from guardrail.evaluation.datasets import categories
from guardrail.evaluation.datasets.fields import Fields
from guardrail.evaluation.datasets.making import HARM_WORDS, REFUSAL_WORDS, SAFETY_WORDS, prompt_row, response_row, turn
from guardrail.evaluation.rows import Row

LANGUAGES = {
    "arabic": "ar",
    "chinese": "zh",
    "czech": "cs",
    "dutch": "nl",
    "english": "en",
    "french": "fr",
    "german": "de",
    "hindi": "hi",
    "italian": "it",
    "japanese": "ja",
    "korean": "ko",
    "polish": "pl",
    "portuguese": "pt",
    "russian": "ru",
    "spanish": "es",
    "swedish": "sv",
    "thai": "th",
}
"""PolyGuard's languages; another one keeps its name."""

_REDACTED = "REDACTED"


def aegis2_prompt(entry: Fields) -> list[Row | None]:
    """Return the user's message; the text of a redacted one lies elsewhere."""
    text, is_harmful = entry.text("prompt"), entry.label("prompt_label", SAFETY_WORDS)
    kinds, meta = _kinds(entry), _aegis2(entry)
    return [prompt_row("" if text == _REDACTED else text, is_harmful, categories=kinds, meta=meta)]


def aegis2_response(entry: Fields) -> list[Row | None]:
    """Return the answer of an entry that has one. The categories are of the whole dialogue."""
    answer, is_harmful = entry.text("response"), entry.label("response_label", SAFETY_WORDS)
    if is_harmful is None and not answer:
        return []
    talk = turn(entry.text("prompt"), answer)
    return [response_row(talk, is_harmful, categories=_kinds(entry), meta=_aegis2(entry))]


def _kinds(entry: Fields) -> tuple[str, ...]:
    return categories.aegis(entry.text("violated_categories").split(",")) if "violated_categories" in entry else ()


def _aegis2(entry: Fields) -> dict[str, object]:
    return entry.kept("id", "prompt_label_source", "response_label_source", "violated_categories")


def wildguard_prompt(entry: Fields) -> list[Row | None]:
    """Return the user's message; its subcategory is the kind of harm."""
    kinds = categories.wildguard([entry.text("subcategory")]) if "subcategory" in entry else ()
    is_harmful = entry.label("prompt_harm_label", HARM_WORDS)
    lang = _lang(entry)
    return [prompt_row(entry.text("prompt"), is_harmful, lang=lang, categories=kinds, meta=_wildguard(entry))]


def wildguard_response(entry: Fields) -> list[Row | None]:
    """Return the answer, and whether it refuses. The subcategory is the prompt's, so the answer gets none."""
    is_harmful = entry.label("response_harm_label", HARM_WORDS)
    refusal = entry.label("response_refusal_label", REFUSAL_WORDS) if "response_refusal_label" in entry else None
    talk, lang = turn(entry.text("prompt"), entry.text("response")), _lang(entry)
    return [response_row(talk, is_harmful, lang=lang, refusal=refusal, meta=_wildguard(entry))]


def _lang(entry: Fields) -> str:
    """Return the language: PolyGuard names one, WildGuardTest is English."""
    name = entry.text("language") if "language" in entry else "english"
    return LANGUAGES.get(name.lower(), name)


def _wildguard(entry: Fields) -> dict[str, object]:
    return entry.kept("id", "adversarial", "subcategory", "prompt_harm_label")

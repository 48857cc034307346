"""Languages by code: their names, for prompts, and how the detector calls them."""

from functools import lru_cache

from guardrail.errors import MissingExtra

try:
    from lingua import Language, LanguageDetector, LanguageDetectorBuilder
except ModuleNotFoundError as error:
    raise MissingExtra("lingua-language-detector", "train") from error

_SAME = {"no": "nb", "sp": "es", "iw": "he", "in": "id", "fil": "tl"}
"""Codes that mean a language which has another one; "sp" is what one public data set calls Spanish."""

_BY_CODE = {one.iso_code_639_1.name.lower(): one for one in Language.all()}

_MORE_NAMES = {
    "am": "Amharic", "as": "Assamese", "ceb": "Cebuano", "ckb": "Central Kurdish", "gl": "Galician", "ha": "Hausa",
    "ig": "Igbo", "jv": "Javanese", "km": "Khmer", "kn": "Kannada", "ky": "Kyrgyz", "lb": "Luxembourgish", "lo": "Lao",
    "ml": "Malayalam", "mt": "Maltese", "my": "Burmese", "ne": "Nepali", "or": "Odia", "ps": "Pashto", "sd": "Sindhi",
    "si": "Sinhala", "su": "Sundanese", "tg": "Tajik", "ti": "Tigrinya", "tt": "Tatar", "ug": "Uyghur", "uz": "Uzbek",
    "yue": "Cantonese", "zh": "Chinese (Simplified)",
}  # fmt: skip


def base_code(lang: str) -> str:
    """Return a language's own code: without region or script, in lower case."""
    code = lang.replace("_", "-").split("-")[0].lower()
    return _SAME.get(code, code)


def name_of(lang: str) -> str | None:
    """Return a language's English name; None if it is not known here."""
    code = base_code(lang)
    if code in _MORE_NAMES:
        return _MORE_NAMES[code]
    return _BY_CODE[code].name.capitalize() if code in _BY_CODE else None


def is_detected(code: str) -> bool:
    """Whether the detector knows a language, by its own code."""
    return code in _BY_CODE


_FAMILIES = (
    "es pt it fr ca ro", "ru uk be bg mk", "cs sk pl", "hr sl", "de nl af", "sv da nb", "ar fa ur", "hi mr", "zh ja",
    "fi et", "lv lt", "tr az",
)  # fmt: skip
"""Languages that a translator may write one for the other, and that the detector tells apart: it does not tell
Indonesian from Malay, nor Croatian from Bosnian and Serbian in Latin letters."""

_SISTERS = {code: frozenset(family.split()) for family in _FAMILIES for code in family.split()}


def sisters_of(code: str) -> frozenset[str]:
    """Return a language and its sisters; none where no sister is known."""
    return _SISTERS.get(code, frozenset())


def confidence_of(text: str, code: str) -> float:
    """Return how sure it is that a text is in this language rather than in a sister language, in [0, 1].

    It is 1 for a language without sisters.
    """
    detector = detector_of(sisters_of(code))
    if detector is None:
        return 1.0
    # the detector adds in any order, which would let rows differ by the last digit from one run to the next
    return round(detector.compute_language_confidence(text, _BY_CODE[code]), 6)


@lru_cache(maxsize=64)
def detector_of(langs: frozenset[str]) -> LanguageDetector | None:
    """Return a detector that tells these languages apart; None if it knows fewer than two of them.

    The fewer it chooses from, the fewer mistakes it makes and the less memory it takes.
    """
    known = sorted(langs & _BY_CODE.keys())
    if len(known) < 2:
        return None
    return LanguageDetectorBuilder.from_languages(*(_BY_CODE[code] for code in known)).build()


def code_of(language: Language) -> str:
    """Return the code of a language of the detector."""
    return str(language.iso_code_639_1.name.lower())

"""Scripts by Unicode ranges, and those that a language is written in: exact, free, enough where scripts differ."""

import re

_RANGES = {
    "Latin": "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u1e00-\u1eff\u2c60-\u2c7f\ua720-\ua7ff"
    "\uab30-\uab6f\ufb00-\ufb06\uff21-\uff3a\uff41-\uff5a",
    "Greek": "\u0370-\u037d\u037f-\u03ff\u1f00-\u1fff",
    "Cyrillic": "\u0400-\u052f\u1c80-\u1c8f\u2de0-\u2dff\ua640-\ua69f",
    "Armenian": "\u0531-\u058f",
    "Hebrew": "\u0591-\u05ff\ufb1d-\ufb4f",
    "Arabic": "\u0610-\u061a\u0620-\u065f\u066e-\u06ef\u06fa-\u06ff\u0750-\u077f\u0870-\u08ff\ufb50-\ufdff"
    "\ufe70-\ufefc",
    "Devanagari": "\u0900-\u0963\u0971-\u097f\ua8e0-\ua8ff",
    "Bengali": "\u0980-\u09e3\u09f0-\u09ff",
    "Gurmukhi": "\u0a01-\u0a5e\u0a70-\u0a7f",
    "Gujarati": "\u0a81-\u0ae3\u0af9-\u0aff",
    "Oriya": "\u0b01-\u0b63\u0b70-\u0b77",
    "Tamil": "\u0b82-\u0bd7",
    "Telugu": "\u0c00-\u0c63",
    "Kannada": "\u0c80-\u0ce3",
    "Malayalam": "\u0d00-\u0d63\u0d7a-\u0d7f",
    "Sinhala": "\u0d81-\u0ddf",
    "Thai": "\u0e01-\u0e3a\u0e40-\u0e4e",
    "Lao": "\u0e81-\u0ecd\u0edc-\u0edf",
    "Tibetan": "\u0f40-\u0fbc",
    "Myanmar": "\u1000-\u103f\u1050-\u108f\uaa60-\uaa7f",
    "Georgian": "\u10a0-\u10ff\u1c90-\u1cbf\u2d00-\u2d2f",
    "Ethiopic": "\u1200-\u1360\u1380-\u139f",
    "Khmer": "\u1780-\u17d3\u17dc\u17dd",
    "Hangul": "\u1100-\u11ff\u3131-\u318e\ua960-\ua97c\uac00-\ud7fb\uffa1-\uffdc",
    "Kana": "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f",
    "Han": "\u2e80-\u2fd5\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
}
"""Letters and the marks that belong to them; no digits and no punctuation, which scripts share."""

_WRITTEN_IN = {
    "el": "Greek", "hy": "Armenian", "he": "Hebrew", "hi": "Devanagari", "mr": "Devanagari", "ne": "Devanagari",
    "bn": "Bengali", "as": "Bengali", "pa": "Gurmukhi", "gu": "Gujarati", "or": "Oriya", "ta": "Tamil", "te": "Telugu",
    "kn": "Kannada", "ml": "Malayalam", "si": "Sinhala", "th": "Thai", "lo": "Lao", "bo": "Tibetan", "my": "Myanmar",
    "ka": "Georgian", "am": "Ethiopic", "ti": "Ethiopic", "km": "Khmer", "ko": "Hangul", "zh": "Han", "yue": "Han",
    "ja": "Kana Han", "sr": "Cyrillic Latin", "bs": "Latin Cyrillic", "uz": "Latin Cyrillic", "az": "Latin Cyrillic",
    **dict.fromkeys(("ar", "fa", "ur", "ps", "ug", "sd", "ckb"), "Arabic"),
    **dict.fromkeys(("ru", "uk", "be", "bg", "mk", "kk", "ky", "mn", "tg", "tt"), "Cyrillic"),
}  # fmt: skip
"""Scripts by language code; all others are written in Latin letters."""

_LETTER = re.compile(f"[{''.join(_RANGES.values())}]")
_SCRIPTS = {name: re.compile(f"[{chars}]") for name, chars in _RANGES.items()}
_DENSE_SCRIPTS = ("Han", "Kana", "Hangul")
_DENSE = re.compile(f"[{''.join(_RANGES[name] for name in _DENSE_SCRIPTS)}]")
DENSE_LETTERS = 3
"""Letters of an alphabet that a character of Chinese, Japanese or Korean tells as much as, and counts as. Roughly; our
choice."""


def scripts_of(lang: str) -> tuple[str, ...]:
    """Return the scripts that a language is written in."""
    return tuple(_WRITTEN_IN.get(lang, "Latin").split())


def n_letters(text: str) -> int:
    """Return how many letters of any script a text has; see `DENSE_LETTERS`. Vowel signs are letters of their own."""
    return len(_LETTER.findall(text)) + (DENSE_LETTERS - 1) * len(_DENSE.findall(text))


def foreign_letters(text: str, lang: str) -> int:
    """Return how many letters are of no script that the language is written in."""
    own = (
        len(_SCRIPTS[name].findall(text)) * (DENSE_LETTERS if name in _DENSE_SCRIPTS else 1)
        for name in scripts_of(lang)
    )
    return n_letters(text) - sum(own)


def weight(text: str) -> int:
    """Return how long a text is, in characters of an alphabet: for comparing lengths across scripts."""
    return len(text) + (DENSE_LETTERS - 1) * len(_DENSE.findall(text))

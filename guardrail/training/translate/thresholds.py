"""From which share of another language on a translation is mixed: measured language by language.

`benchmarks/recipe_languages.py --data data --thresholds` prints them: on one half of the texts of `xsafety` and
`tatoeba_benign`, which are in one language, the share that 1 % of them go beyond; `LOWEST` at least, `HIGHEST` at most.
"""

from collections.abc import Mapping

LOWEST = 0.05
"""No threshold is lower: a name or two is no mixing. Our choice."""

HIGHEST = 0.3
"""No threshold is higher: of a hundred short sentences one alone can be taken for another language. Our choice."""

DEFAULT = 0.15
"""For languages that were not measured. Our choice."""

MEASURED: Mapping[str, float] = {
    "ar": 0.05, "bn": 0.06, "cs": 0.30, "de": 0.09, "el": 0.05, "es": 0.11, "fa": 0.05, "fr": 0.10, "he": 0.05,
    "hi": 0.05, "hu": 0.05, "id": 0.05, "it": 0.29, "ja": 0.05, "jv": 0.05, "ko": 0.05, "ms": 0.05, "nl": 0.30,
    "pl": 0.05, "pt": 0.05, "ro": 0.30, "ru": 0.09, "sv": 0.05, "sw": 0.05, "ta": 0.05, "th": 0.15, "tl": 0.05,
    "tr": 0.05, "uk": 0.11, "ur": 0.05, "vi": 0.05, "zh": 0.12,
}  # fmt: skip
"""By code; for ar, de, es, fr, hi, ja, ru, zh on 730 to 763 texts, bn on 166, the others on 49 to 140 sentences, where
it is the value of the worst one or two."""

LEAST_CONFIDENCE = 0.1
"""A text of which the detector is less sure is taken for a sister language's. Ours; the benchmark counts what it finds
and what it costs."""

OTHER = 0.5
"""A text of which more than this is in another language is in the wrong one, not mixed. Our choice."""


def threshold_of(code: str, given: Mapping[str, float]) -> float:
    """Return a language's threshold, in [0, 1]: the recipe's, else the measured one, else `DEFAULT`."""
    return given.get(code, MEASURED.get(code, DEFAULT))

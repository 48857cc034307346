"""Language mixing: how much of a text is in another language than it should be, by script and by detector."""

import re
from dataclasses import dataclass

from guardrail.training.translate.languages import base_code, code_of, confidence_of, detector_of, is_detected
from guardrail.training.translate.scripts import foreign_letters, n_letters, scripts_of

_LEFT = re.compile(
    r"```.*?(?:```|\Z)"  # code
    r"|`[^`\n]*`"
    r"|</?[A-Za-z][^<>\n]*>"  # mark-up
    r"|\b(?:[A-Za-z][A-Za-z0-9+.-]*://|www\.)\S+"
    r"|\S+@\S+\.\w+"
    r"|(?<![\w/])(?:[\w.-]*/){2,}[\w.-]*",  # paths
    re.DOTALL,
)
"""What stays as it is in a translation, and says nothing of its language."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_BEGIN = re.compile(r"[.!?:;\u2026\u3002\uff01\uff1f\n\"'\u201c\u2018\u00ab(\[*-]\s*$")
_LOOK_BACK = 4
_MOST_NAMES = 0.5
"""A source of which more words than this look like names is written in capitals, or a list: no word of it is a name.
Our choice."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What a text is written in; letters that may stay as they are do not count.

    Attributes:
        n_letters: that count.
        by_script: share of letters of another script than the language's, in [0, 1].
        by_detector: share of letters that the detector takes for the source's language or English, where these share a
            script with it; None where it cannot tell.
        confidence: that the whole is in its language rather than in a sister language, in [0, 1]; 1 where it has none.
    """

    n_letters: int
    by_script: float
    by_detector: float | None
    confidence: float = 1.0

    @property
    def share(self) -> float:
        """Share in another language: the larger of both."""
        return max(self.by_script, self.by_detector or 0.0)


def mix_of(text: str, lang: str, source: str, source_lang: str) -> Mix:
    """Return how much of a translation is in another language than its own.

    Args:
        text: the translation.
        lang: its language.
        source: what was translated: names in it may stand in the translation as they are. Empty if not known.
        source_lang: its language; beside it and the translation's own, English is looked for.
    """
    lang, source_lang = base_code(lang), base_code(source_lang)
    text = text.encode(errors="replace").decode()  # the detector takes no halves of characters
    said = _without(names_of(_LEFT.sub(" ", source), source_lang), _LEFT.sub(" ", text))
    n = n_letters(said)
    if not n:
        return Mix(0, 0.0, None)
    by_detector = _by_detector(said, n, lang, source_lang)
    return Mix(n, foreign_letters(said, lang) / n, by_detector, confidence_of(said, lang))


def names_of(source: str, lang: str) -> frozenset[str]:
    """Return words of a text that look like names: with a capital although no sentence begins there, with a digit, or
    in another script than the text's.
    """
    names, n_words, begins = set(), 0, True
    for match in _WORD.finditer(source):
        word, n_words = match.group(), n_words + 1
        begins = begins or bool(_BEGIN.search(source, max(0, match.start() - _LOOK_BACK), match.start()))
        is_capital = any(char.isupper() for char in (word[1:] if begins else word))
        if is_capital or any(char.isdigit() for char in word) or foreign_letters(word, lang):
            names.add(word)
        begins = False
    return frozenset(names if len(names) <= _MOST_NAMES * n_words else ())


def _without(names: frozenset[str], text: str) -> str:
    return _WORD.sub(lambda match: " " if match.group() in names else match.group(), text) if names else text


def _by_detector(text: str, n: int, lang: str, source_lang: str) -> float | None:
    alike = {code for code in (source_lang, "en") if set(scripts_of(code)) & set(scripts_of(lang))}
    detector = detector_of(frozenset((lang, *alike)))
    if detector is None or not is_detected(lang):
        return None
    spans = detector.detect_multiple_languages_of(text)
    if not spans:
        return None
    own = sum(n_letters(text[s.start_index : s.end_index]) for s in spans if code_of(s.language) == lang)
    return 1 - own / n

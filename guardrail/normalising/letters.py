"""Characters that stand for others: invisible ones, compatibility forms of Latin letters, lookalikes, leetspeak.

The lookalikes are those of Unicode's confusables (UTS #39) that look like a Latin letter in common fonts, and the
Cyrillic small letters that are written as smaller capitals.
"""

import re
import unicodedata
from functools import lru_cache

WORD_CLASS = (
    "!-~\u00a1-\u058f\u1d00-\u1dbf\u1e00-\u1fff\u200b-\u200f\u202a-\u202e\u2060-\u209c\u2100-\u214f\u2460-\u24ff"
    "\ua640-\ua69f\ufb00-\ufb06\ufe00-\ufe0f\ufeff\uff21-\uff3a\uff41-\uff5a"
    "\U0001d400-\U0001d7ff\U0001f130-\U0001f149\U000e0000-\U000e01ef"
)
"""Characters, as in a regular expression's brackets, that may belong to a disguised Latin word. Others stand as they
are: scripts written without spaces would else wait for the end of a sentence."""

INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef]"
)
"""Zero-width and bidirectional controls, soft hyphens, variation selectors, tags."""

UNSPACED = re.compile("[\u2e80-\u2fdf\u3005-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]")
"""Han, kana and hangul, behind which nothing invisible has a use; Arabic, Indic scripts and emoji need some."""

_TAGS = range(0xE0020, 0xE007F)
_KEPT = frozenset("ªº™℠№")
"""Ordinary signs that are no disguise of the letters they are made of."""

_CYRILLIC = dict(zip("аеорсухіјѕһԁԛԝѵӏгкмтнв", "aeopcyxijshdqwvlrkmthb", strict=True))
_CYRILLIC_CAPITALS = dict(zip("АВЕКМНОРСТУХЅІЈԌԚԜҮ", "ABEKMHOPCTYXSIJGQWY", strict=True))
_GREEK = dict(zip("αορνικυγτεηωχσ", "aopvikuytenwxo", strict=True))
_GREEK_CAPITALS = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEZHIKMNOPTYX", strict=True))
_ARMENIAN = dict(zip("օոսհզցք", "onuhqgp", strict=True))
LOOKALIKES = {**_CYRILLIC, **_CYRILLIC_CAPITALS, **_GREEK, **_GREEK_CAPITALS, **_ARMENIAN}
"""Letters of other scripts to the Latin letter that they look like."""

LEET = {"0": "o", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"}
"""Digits and signs to the letter that they stand for; a 1 is an i or an l, see `leet_one`."""

_LETTERS = re.compile(r"[^\W\d_]")


def without_invisible(match: re.Match[str]) -> str:
    """Return what an invisible character says: a tag its ASCII character, any other nothing."""
    code = ord(match.group())
    return chr(code - 0xE0000) if code in _TAGS else ""


@lru_cache(4096)
def plain_form(char: str) -> str:
    """Return the ASCII letters that a character is a compatibility form of, such as a full-width or mathematical one;
    else the character.
    """
    if char in _KEPT or char < "\u1d00":
        return char
    form = unicodedata.normalize("NFKC", char).strip("()")
    is_digit = "\U0001d7ce" <= char <= "\U0001d7ff"
    return form if form.isascii() and (form.isalpha() or is_digit) else char


def has_letter(text: str) -> bool:
    """Whether there is a letter of any script, or a form of one."""
    return _LETTERS.search(text) is not None or any(plain_form(char) != char for char in text)


def latin_form(word: str, *, is_known: bool) -> str:
    """Return a word of letters with lookalikes made Latin, if it has Latin letters, or the text `is_known` to mix them,
    and nothing but lookalikes else.
    """
    foreign = {char for char in word if not char.isascii()}
    if not foreign <= LOOKALIKES.keys() or not (is_known or len(foreign) < len(set(word))):
        return word
    return "".join(LOOKALIKES.get(char, char) for char in word)


def leet_one(before: str, after: str) -> str:
    """Return the letter that a 1 stands for between two characters: l behind a vowel, or where it makes bl, cl, fl, gl,
    kl, pl or sl before one; else i.

    A guess that serves most words: he1p, b1ow, k1ll, act1on.
    """
    vowels = frozenset("aeiouAEIOU034@")
    is_l = before in vowels or before == "1" or (before in "bcfgkpsBCFGKPS" and after in vowels)
    return "l" if is_l else "i"

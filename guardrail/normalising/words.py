"""The twin of one word: a run of characters without white space, of bounded length."""

import base64
import binascii
import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from enum import StrEnum

from guardrail.normalising.letters import (
    INVISIBLE,
    LEET,
    has_letter,
    latin_form,
    leet_one,
    plain_form,
    without_invisible,
)

LEAST_BASE64 = 16
"""Characters of base64 from which a run is decoded if it gives text: 12 bytes. Our choice; twelve random bytes are
printable text once in a million times, and words of that length that happen to be base64 of text are not known."""

_PLAIN = re.compile(r"[A-Za-z'’]{1,15}[.,;:!?)\"]{0,3}")
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
_COMPATIBLE = re.compile("[\u1d00-\U0001ffff]")
_SURE_ESCAPES = r"(?:\\u[0-9A-Fa-f]{4})+|(?:\\x[0-9A-Fa-f]{2})+|(?:&#(?:[0-9]{2,6}|[xX][0-9A-Fa-f]{2,5});)+"
_ESCAPES = re.compile(rf"(?:%[0-9A-Fa-f]{{2}}){{2,}}|{_SURE_ESCAPES}")
_KNOWN_ESCAPES = re.compile(rf"(?:%[0-9A-Fa-f]{{2}})+|{_SURE_ESCAPES}")
_ESCAPE_UNIT = re.compile(r"[0-9A-Fa-f]+")
_BASE64 = re.compile(rf"[A-Za-z0-9+/_-]{{{LEAST_BASE64},}}={{0,2}}")
_DOTTED = re.compile(r"(?<![^\W_])[^\W\d_]([.\-_*|~·•/+])[^\W\d_](?:\1[^\W\d_]){2,}(?![^\W_])")
_LETTERS = re.compile(r"[^\W\d_]+")
_LEET = re.compile(r"[A-Za-z0-9@$!_]{2,}")
_SUBSTITUTE = re.compile(r"[A-Za-z][013457@$!]+[A-Za-z]")
_KNOWN_SUBSTITUTE = re.compile(r"[013457@$][A-Za-z]|[A-Za-z][013457@$]")
_TAG_RUN = re.compile("[\U000e0020-\U000e007e]{2,}+(?!\U000e007f)")
"""Tags, which spell ASCII invisibly; not a flag's, which end with the cancelling tag."""
_ONE_CASE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


@dataclass(frozen=True, slots=True)
class Spelling:
    """A text and where each of its characters comes from.

    Attributes:
        text: the characters.
        starts: for each of them, the offset in the raw text at which what it stands for begins; never decreasing.
    """

    text: str
    starts: tuple[int, ...]

    def replaced(self, pattern: re.Pattern[str], read: Callable[[re.Match[str]], str]) -> "Spelling":
        """Return this text with what a pattern finds read otherwise; new characters spread evenly over the old."""
        text: list[str] = []
        starts: list[int] = []
        position = 0
        for match in pattern.finditer(self.text):
            new, old = read(match), match.group()
            if new == old:
                continue
            begin = match.start()
            text += [self.text[position:begin], new]
            starts += self.starts[position:begin]
            starts += (self.starts[begin + i * len(old) // len(new)] for i in range(len(new)))
            position = match.end()
        if not position:
            return self
        return Spelling("".join(text) + self.text[position:], (*starts, *self.starts[position:]))


def is_plain(word: str) -> bool:
    """Whether a word is nothing but ordinary letters, as most are."""
    return _PLAIN.fullmatch(word) is not None


class Kind(StrEnum):
    """Disguises that, once met, are looked for in shorter words and at their ends too."""

    ESCAPE = "escape"
    LOOKALIKE = "lookalike"
    LEET = "leet"


def undisguised(word: str, known: Container[Kind] = ()) -> tuple[Spelling, list[Kind]]:
    """Return a word with its disguises undone, and where its characters come from, in offsets into the word; and which
    kinds it had.

    Args:
        word: no white space.
        known: kinds that words before it had.
    """
    kinds: list[Kind] = []
    spelling = Spelling(word, tuple(range(len(word))))
    if is_plain(word) or not (has_letter(word) or _KNOWN_ESCAPES.search(word)):
        return spelling.replaced(_TAG_RUN, lambda match: INVISIBLE.sub(without_invisible, match.group())), kinds
    is_ascii = _NON_ASCII.search(word) is None
    if not is_ascii:
        spelling = spelling.replaced(INVISIBLE, without_invisible)
        spelling = spelling.replaced(_COMPATIBLE, lambda match: plain_form(match.group()))
    before = spelling
    if "%" in word or "\\" in word or "&#" in word:
        spelling = spelling.replaced(_KNOWN_ESCAPES if Kind.ESCAPE in known else _ESCAPES, _unescaped)
        kinds += [Kind.ESCAPE] if spelling is not before else []
    if len(word) >= LEAST_BASE64:
        spelling = spelling.replaced(_BASE64, _decoded)
    spelling = before = spelling.replaced(_DOTTED, lambda match: match.group()[::2])
    if not is_ascii:
        is_known = Kind.LOOKALIKE in known
        spelling = spelling.replaced(_LETTERS, lambda match: latin_form(match.group(), is_known=is_known))
        kinds += [Kind.LOOKALIKE] if spelling is not before else []
    before = spelling
    spelling = spelling.replaced(_LEET, lambda match: _without_leet(match, before.text, is_known=Kind.LEET in known))
    return spelling, kinds + ([Kind.LEET] if spelling is not before else [])


def _is_text(text: str) -> bool:
    """Whether it is mostly words: printable, and four in five letters, digits or spaces."""
    if not all(char.isprintable() or char in "\n\r\t" for char in text):
        return False
    return sum(char.isalnum() or char.isspace() for char in text) >= 0.8 * len(text) > 0


def _unescaped(match: re.Match[str]) -> str:
    """Return the text of a run of percent, backslash or HTML escapes; as it stands, if that is no text."""
    written = match.group()
    units = _ESCAPE_UNIT.findall(written.replace("\\u", " ").replace("\\x", " ").replace("&#", " "))
    try:
        if written[0] == "%":
            text = bytes(int(unit, 16) for unit in units).decode()
        elif written[:2] == "\\u":
            text = bytes.fromhex("".join(units)).decode("utf-16-be")
        elif written[0] == "&":
            text = "".join(chr(int(n.strip("&#xX;"), 16 if n[2] in "xX" else 10)) for n in written.split(";")[:-1])
        else:
            text = bytes(int(unit, 16) for unit in units).decode()
    except (ValueError, OverflowError):  # half a character, or a number that is none
        return written
    return text if _is_text(text) else written


def _decoded(match: re.Match[str]) -> str:
    """Return the text that a run of base64 says, from whichever of its first four places gives one: a long run comes
    in pieces. As it stands, if none does.
    """
    written = match.group()
    standard = written.rstrip("=").replace("-", "+").replace("_", "/")
    for skipped in range(4):
        run = standard[skipped:]
        n_whole = len(run) // 4 * 4
        tail = run[n_whole:] if len(run) % 4 > 1 else ""
        try:
            said = base64.b64decode(run[:n_whole] + tail + "=" * (-len(tail) % 4))
        except binascii.Error:
            continue
        text = _whole_characters(said)
        if text is not None:
            return written[:skipped] + text
    return written


def _whole_characters(said: bytes) -> str | None:
    """Return bytes as text, without halves of characters at both ends; None if it is none."""
    for lead in range(4 if len(said) > 3 and said[0] & 0xC0 == 0x80 else 1):
        for tail in range(4):
            try:
                text = said[lead : len(said) - tail].decode()
            except UnicodeDecodeError:
                continue
            return text if _is_text(text) else None
    return None


def _without_leet(match: re.Match[str], word: str, *, is_known: bool) -> str:
    """Return a word with digits and signs between its letters read as letters, or at its ends too where the text is
    known to have them; names and numbers stay.
    """
    written = match.group().rstrip("!")
    letters = "".join(char for char in written if char.isalpha())
    is_leet = (
        (_SUBSTITUTE.search(written) or (is_known and _KNOWN_SUBSTITUTE.search(written)))
        and not set(written) & set("2689_")
        and len(written) <= 2 * len(letters) + is_known
        and _ONE_CASE.fullmatch(letters)
        and not ("@" in written and "." in word)  # an address
    )
    if not is_leet:
        return match.group()
    around = f" {written} "
    read = (
        leet_one(around[i], around[i + 2]) if char == "1" else LEET.get(char, char) for i, char in enumerate(written)
    )
    return "".join(read) + match.group()[len(written) :]

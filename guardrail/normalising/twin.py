"""A text's normalised twin, whole or as the text streams: however it is cut, the twin is the same.

What is undone: invisible characters, compatibility forms and lookalikes of Latin letters, leetspeak, letters that are
spaced out or dotted, base64, percent and other escapes. A text is read word by word; a word waits for its end, and
single letters for what follows them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from guardrail.normalising.letters import INVISIBLE, UNSPACED, WORD_CLASS
from guardrail.normalising.words import Kind, is_plain, undisguised

LONGEST_WORD = 256
"""Characters of a word that are read together; a longer one is read in pieces. Our choice."""

LEAST_SPACED = 4
"""Letters in a row, each by itself, from which they are read as a word: "k i l l". Ours: three stand in initials."""

MOST_SPACED = 16
"""Letters, each by itself, that wait together at most; a longer run goes on as a word. Our choice."""

REMEMBERED = 32
"""Words for which a kind of disguise, once met, is expected. Our choice."""

_WIDEST_SPACE = 3
"""Spaces between letters of one run at most; more than one of them part two words of it."""

_UNIT = re.compile(rf"(?P<space>\s)|(?P<word>[{WORD_CLASS}]{{1,{LONGEST_WORD}}})|[^\s{WORD_CLASS}]+")
_LAST_LETTER = re.compile(r"[^\W\d_][.,;:!?)\"']{1,3}")


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text and of its twin.

    Attributes:
        raw: the text.
        twin: how it is read.
        starts: for each character of the twin, where in the whole text that begins which it stands for; never
            decreasing; empty where text and twin are the same.
    """

    raw: str
    twin: str
    starts: tuple[int, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether the twin is the text."""
        return self.raw == self.twin


@dataclass(frozen=True, slots=True)
class Twin:
    """A text's twin, whole.

    Attributes:
        text: the twin.
        spans: for each of its characters, the characters of the raw text that it stands for (half-open). They cover the
            raw text without gaps; characters that are read from one place share its span.
    """

    text: str
    spans: tuple[tuple[int, int], ...]


def normalised(text: str) -> Twin:
    """Return a text's twin."""
    normaliser = Normaliser()
    places = Places()
    pieces = [*normaliser.feed(text), *normaliser.finish()]
    for piece in pieces:
        places.add(piece)
    twin = "".join(piece.twin for piece in pieces)
    return Twin(twin, tuple(places.span(i, i + 1) for i in range(len(twin))))


class Normaliser:
    """Takes a text in any pieces; gives pieces of it with their twins. Keeps state: one caller at a time; a shallow
    copy is independent.
    """

    def __init__(self, start: int = 0) -> None:
        """Begin.

        Args:
            start: offset of the text's first character, from which places are counted.
        """
        self._pending = ""
        self._start = start
        self._letters: tuple[Piece, ...] = ()
        self._is_spaced = False
        self._before = ""
        self._n_words = 0
        self._known: Mapping[Kind, int] = {}

    @property
    def held(self) -> str:
        """Text that waits for what follows it; of bounded length."""
        return "".join(piece.raw for piece in self._letters) + self._pending

    def feed(self, delta: str) -> list[Piece]:
        """Take text; return the pieces that no later text can change."""
        self._pending += delta
        return self._read(is_end=False)

    def finish(self) -> list[Piece]:
        """End the text; return the rest."""
        return _joined([*self._read(is_end=True), *self._release()])

    def _read(self, *, is_end: bool) -> list[Piece]:
        pieces: list[Piece] = []
        position = 0
        for unit in _UNIT.finditer(self._pending):
            is_open = unit.end() == len(self._pending) and unit.end() - unit.start() < LONGEST_WORD
            if unit.lastgroup == "word" and is_open and not is_end:
                break
            pieces += self._take(unit.group(), self._start + position, unit.lastgroup)
            position = unit.end()
            self._before = self._pending[position - 1]
        self._pending = self._pending[position:]
        self._start += position
        return _joined(pieces)

    def _take(self, text: str, start: int, kind: str | None) -> list[Piece]:
        """Return what one unit settles: a character of white space, a word, or text that stands as it is."""
        if kind == "space":
            if not self._letters:
                return [Piece(text, text)]
            self._letters += (Piece(text, text, (start,)),)
            return [] if text in " \u00a0\u3000" and self._n_spaces <= _WIDEST_SPACE else self._release()
        if kind != "word":
            return [*self._release(), Piece(text, text)]
        piece = self._word(text, start)
        stands_alone = len(piece.twin) == 1 and (not self._before or self._before.isspace())
        if stands_alone and (piece.twin.isalpha() or (self._letters and piece.twin in ".,;:!?'-")):
            self._letters += (piece,)
            n_letters = sum(not waiting.raw.isspace() for waiting in self._letters)
            return self._release(keeps_last=True) if n_letters > MOST_SPACED else []
        if self._n_spaces and _LAST_LETTER.fullmatch(piece.twin):
            self._letters += (piece,)
            return self._release()
        return [*self._release(), piece]

    def _word(self, text: str, start: int) -> Piece:
        if is_plain(text):
            self._n_words += 1
            return Piece(text, text, tuple(range(start, start + len(text))))
        if UNSPACED.match(self._before) and not INVISIBLE.sub("", text):
            return Piece(text, "")
        self._n_words += 1
        known = [kind for kind, until in self._known.items() if self._n_words <= until]
        spelling, kinds = undisguised(text, known)
        if kinds:
            self._known = {**self._known, **dict.fromkeys(kinds, self._n_words + REMEMBERED)}
        return Piece(text, spelling.text, tuple(start + place for place in spelling.starts))

    @property
    def _n_spaces(self) -> int:
        """White space behind the last of the letters that wait."""
        return next((i for i, piece in enumerate(reversed(self._letters)) if not piece.raw.isspace()), 0)

    def _release(self, *, keeps_last: bool = False) -> list[Piece]:
        """Return the letters that waited: as a word, if they are enough, else as they stand.

        Args:
            keeps_last: the run goes on: its last letter waits on.
        """
        n_left = len(self._letters) - keeps_last
        waited, self._letters = self._letters[:n_left], self._letters[n_left:]
        is_word = self._is_spaced or sum(piece.twin[:1].isalpha() for piece in waited) >= LEAST_SPACED
        self._is_spaced = keeps_last and is_word
        if not is_word or len(waited) < 2:
            return list(waited)
        behind = 0 if keeps_last else next(i for i, piece in enumerate(reversed(waited)) if not piece.raw.isspace())
        spaced, rest = waited[: len(waited) - behind], waited[len(waited) - behind :]
        twin: list[Piece] = []
        for is_space, group in groupby(spaced, key=lambda piece: piece.raw.isspace()):
            members = list(group)
            twin += members if not is_space else members[:1] if len(members) > 1 else []
        raw = "".join(piece.raw for piece in spaced)
        starts = tuple(start for piece in twin for start in piece.starts)
        return [Piece(raw, "".join(piece.twin for piece in twin), starts), *rest]


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Return pieces with neighbours that are their own twins in one."""
    joined: list[Piece] = []
    for is_same, group in groupby(pieces, key=lambda piece: piece.is_same):
        if is_same:
            raw = "".join(piece.raw for piece in group)
            joined.append(Piece(raw, raw))
        else:
            joined += group
    return joined


class Places:
    """Where in the raw text the twin's characters stand. Keeps state; a copy is independent."""

    def __init__(self, n_same: int = 0) -> None:
        """Begin behind text that is its own twin.

        Args:
            n_same: its characters.
        """
        self._n_same = n_same
        self._starts: list[int] = []
        self._n_raw = n_same
        self._next = n_same

    def copy(self) -> "Places":
        """Return places of the same text."""
        twin = Places(self._n_same)
        twin._starts, twin._n_raw, twin._next = [*self._starts], self._n_raw, self._next
        return twin

    def add(self, piece: Piece) -> None:
        """Take the next piece; what is not in the twin belongs to the character before it, or else behind it."""
        end = self._n_raw + len(piece.raw)
        if piece.twin:
            self._starts += piece.starts or range(self._n_raw, end)
            self._starts[len(self._starts) - len(piece.twin)] = self._next
            self._next = end
        self._n_raw = end

    @property
    def n_raw(self) -> int:
        """Characters of the raw text so far."""
        return self._n_raw

    def raw(self, index: int) -> int:
        """Return the raw offset at which the twin's character stands; behind the last one, where the next will."""
        if index < self._n_same:
            return index
        behind = index - self._n_same
        return self._starts[behind] if behind < len(self._starts) else self._next

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the raw characters (half-open) that the twin's characters from `start` to `end` stand for."""
        first, last = self.raw(start), self.raw(end - 1)
        return first, next((place for i in range(end, end + 8) if (place := self.raw(i)) > last), self._next)

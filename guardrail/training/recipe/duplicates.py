"""Near duplicates: candidates by MinHash and bands, each verified by ROUGE-L; comparing all pairs is out of reach.

Texts are compared as rows of tokens: words, and single characters in scripts that are written without spaces. A token
is held as one character (a hash), so that a text is a short `str` that rapidfuzz compares in under a microsecond. Two
different tokens share a character once in a million: the measure can then be too high by a token, and never too low.
"""

import math
import re
import sys
import unicodedata
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import MissingExtra

try:
    from rapidfuzz.distance import LCSseq
except ModuleNotFoundError as error:
    raise MissingExtra("rapidfuzz", "train") from error

_SPACELESS = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Thai, Lao, Tibetan, Burmese, Khmer, kana and Chinese characters, as part of a character class."""

_MOST_TOKENS = 2048
"""Longer texts are compared by so many tokens from the start. Our choice: 0.1 ms for the longest pair."""

_HASHES = 0x110000 - 0x800
"""Characters that a token can become: all but the surrogates."""


@dataclass(frozen=True, slots=True)
class Banding:
    """How candidates are found: two texts are compared when all hashes of one band agree.

    What is hashed are the tokens, equal ones counted: two texts whose ROUGE-L is t have a Jaccard similarity J of
    t / (2 - t) or more, so 1 - (1 - J^n_rows)^n_bands of such pairs, or more, are expected to be found.

    Attributes:
        n_bands: more find more.
        n_rows: hashes of a band; more of them let fewer unlike texts through.
    """

    n_bands: int
    n_rows: int

    def recall(self, threshold: float) -> float:
        """Return the least share of the pairs of this ROUGE-L that is expected to be found, in [0, 1]."""
        return 1 - (1 - (threshold / (2 - threshold)) ** self.n_rows) ** self.n_bands


_LEAST_RECALL = 0.98
"""Share of the pairs at the threshold itself that is expected to be found; of those above it, more. Our choice."""

_BANDS = 48
_MOST_ROWS = 10
"""Bands, and most hashes of one: more hashes would let few further texts through less. Ours, chosen with
benchmarks/recipe_duplicates.py."""


def banding_for(threshold: float) -> Banding:
    """Return the banding with the most hashes a band, which compares the fewest unlike texts, that is expected to find
    98 % or more of the pairs at a threshold: 48 bands of 4 at 0.7, of 6 at 0.8, of 10 at 0.9. Below 0.15 one hash a
    band is not enough, and there are more bands.

    Args:
        threshold: ROUGE-L, in (0, 1].
    """
    for n_rows in range(_MOST_ROWS, 0, -1):
        if (banding := Banding(_BANDS, n_rows)).recall(threshold) >= _LEAST_RECALL:
            return banding
    return Banding(math.ceil(math.log(1 - _LEAST_RECALL) / math.log1p(-threshold / (2 - threshold))), 1)


def tokens(text: str) -> list[str]:
    """Return the words of a text without case, and the single characters of scripts without spaces; the characters
    themselves where it has neither (punctuation, emoji).
    """
    if text.isascii():
        found = _ASCII_WORD.findall(text.lower())
    else:
        found = _word().findall(unicodedata.normalize("NFKC", text).casefold())
    return found or [char for char in text if not char.isspace()]


_ASCII_WORD = re.compile(r"[a-z0-9]+")


@lru_cache(1)
def _word() -> re.Pattern[str]:
    """Return what matches a token: a letter with the marks upon it, or a whole word with them."""
    marks = "".join(c for c in map(chr, range(0x300, sys.maxunicode + 1)) if unicodedata.category(c)[0] == "M")
    letter = rf"[^\W_{_SPACELESS}]"
    # a mark is no \w to Python: without them Hindi words would fall apart
    return re.compile(rf"{letter}(?:{letter}+|[{marks}]+)*|[^\W_][{marks}]*|[{marks}]")


def rouge_l(a: str, b: str) -> float:
    """Return the F-measure of the longest common subsequence of tokens, in [0, 1]; 1 for equal tokens, as
    Self-Instruct's filter. Exact: it compares the tokens themselves.
    """
    of_a, of_b = tokens(a), tokens(b)
    return 2 * LCSseq.similarity(of_a, of_b) / (len(of_a) + len(of_b)) if of_a or of_b else 1.0


@lru_cache(1 << 16)
def _char(token: str) -> str:
    code = zlib.crc32(token.encode(errors="surrogatepass")) % _HASHES
    return chr(code if code < 0xD800 else code + 0x800)


def fingerprint(text: str) -> str:
    """Return a text as one character a token, cut at the most that are compared."""
    return "".join(map(_char, tokens(text)[:_MOST_TOKENS]))


def likeness(a: str, b: str) -> float:
    """Return ROUGE-L of two fingerprints, in [0, 1]."""
    return 2 * LCSseq.similarity(a, b) / (len(a) + len(b)) if a or b else 1.0


class MinHash:
    """Turns fingerprints into the keys of their buckets, always in the same way."""

    def __init__(self, banding: Banding) -> None:
        self._shape = banding.n_bands, banding.n_rows
        random = np.random.default_rng(20240917)
        n_hashes = banding.n_bands * banding.n_rows
        self._factors = random.integers(1 << 32, size=(n_hashes, 1), dtype=np.uint32) | np.uint32(1)
        self._offsets = random.integers(1 << 32, size=(n_hashes, 1), dtype=np.uint32)
        self._of_row = random.integers(1 << 63, size=banding.n_rows, dtype=np.uint64) | np.uint64(1)
        self._of_band = random.integers(1 << 63, size=banding.n_bands, dtype=np.uint64)

    def keys(self, print_: str) -> NDArray[np.uint32]:
        """Return the bucket of each band, uint32 [band]; a bucket belongs to one band."""
        codes = np.frombuffer(print_.encode("utf-32-le"), np.uint32).astype(np.uint64)
        counted = _upper((codes + (_occurrences(codes) << np.uint64(32))) * _MIXER) if print_ else _NOTHING
        hashes = (self._factors * counted + self._offsets).min(axis=1)
        rows = hashes.reshape(self._shape).astype(np.uint64)
        return _upper(((rows * self._of_row).sum(axis=1) + self._of_band) * _MIXER)


_MIXER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 by the golden ratio: spreads what is multiplied by it over the upper bits."""

_NOTHING = np.zeros(1, np.uint32)


def _upper(values: NDArray[np.uint64]) -> NDArray[np.uint32]:
    return (values >> np.uint64(32)).astype(np.uint32)


def _occurrences(codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return how often each token stood before, so that equal ones count as many: uint64 [token]."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    places = np.arange(len(codes))
    is_first = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    before = np.empty(len(codes), np.uint64)
    before[order] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    return before


class NearDuplicates:
    """Texts, of which those like a new one are found; for one thread. About 0.5 kB a text."""

    def __init__(self, threshold: float, banding: Banding | None = None) -> None:
        """Start without texts.

        Args:
            threshold: ROUGE-L from which on two texts are near duplicates, in (0, 1].
            banding: how candidates are found; none takes the threshold's.
        """
        self.threshold = threshold
        self._minhash = MinHash(banding or banding_for(threshold))
        self._buckets = _Buckets()
        self._prints: list[str] = []
        self._keys: list[int] = []

    def __len__(self) -> int:
        return len(self._prints)

    def add(self, key: int, text: str) -> None:
        """Keep a text under a number of the caller's."""
        self.add_print(key, fingerprint(text))

    def add_print(self, key: int, print_: str) -> None:
        """Keep a text, of which the fingerprint is there already."""
        self._buckets.add(self._minhash.keys(print_))
        self._prints.append(print_)
        self._keys.append(key)

    def candidates(self, text: str) -> list[tuple[int, float]]:
        """Return key and ROUGE-L of the texts that may be near duplicates, in the order in which they were added."""
        print_ = fingerprint(text)
        found = self._buckets.find(self._minhash.keys(print_))
        return [(self._keys[i], likeness(print_, self._prints[i])) for i in found]

    def nearest(self, text: str) -> tuple[int | None, float]:
        """Return key and ROUGE-L of the candidate that is most like a text, the earliest of several; None and 0 if
        there is none.
        """
        return max(self.candidates(text), key=lambda found: found[1], default=(None, 0.0))

    def has_near(self, text: str) -> bool:
        """Whether a near duplicate is there."""
        return self.nearest(text)[1] >= self.threshold


class _Buckets:
    """Which entries (0, 1, 2, ...) are in which bucket: sorted arrays that are merged as they grow, since a dict would
    take ten times the memory; the latest entries are in a dict, once somebody looks for them.
    """

    _FRESH = 2048
    """Entries that wait to be sorted. Our choice."""

    def __init__(self) -> None:
        self._levels: list[NDArray[np.uint64]] = []  # key in the upper half, entry in the lower one
        self._fresh: list[NDArray[np.uint32]] = []
        self._n_sorted = self._n_listed = 0
        self._listed: dict[int, list[int]] = {}

    def add(self, keys: NDArray[np.uint32]) -> None:
        """Put the next entry into its buckets."""
        self._fresh.append(keys)
        if len(self._fresh) == self._FRESH:
            self._settle()

    def find(self, keys: NDArray[np.uint32]) -> list[int]:
        """Return the entries that share a bucket, in order."""
        for entry in range(self._n_listed, len(self._fresh)):
            for key in self._fresh[entry].tolist():
                self._listed.setdefault(key, []).append(self._n_sorted + entry)
        self._n_listed = len(self._fresh)
        found = {entry for key in keys.tolist() for entry in self._listed.get(key, ())}
        lowest = keys.astype(np.uint64) << _HALF
        for level in self._levels:
            starts = np.searchsorted(level, lowest)
            ends = np.searchsorted(level, lowest | _LOWER, "right")
            for i in np.flatnonzero(ends > starts):
                found.update((level[starts[i] : ends[i]] & _LOWER).tolist())
        return sorted(found)

    def _settle(self) -> None:
        keys = np.concatenate(self._fresh).astype(np.uint64) << _HALF
        entries = np.arange(self._n_sorted, self._n_sorted + len(self._fresh), dtype=np.uint64)
        self._levels.append(keys | entries.repeat(len(self._fresh[0])))
        while len(self._levels) > 1 and len(self._levels[-2]) <= len(self._levels[-1]):
            self._levels.append(np.concatenate((self._levels.pop(), self._levels.pop())))
        self._levels[-1].sort()
        self._n_sorted += len(self._fresh)
        self._fresh, self._listed, self._n_listed = [], {}, 0


_HALF, _LOWER = np.uint64(32), np.uint64(0xFFFFFFFF)

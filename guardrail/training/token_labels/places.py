"""Where an answer may be cut: at the ends of the guard's own tokens, never inside a character."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.encoding import GuardTokenizer
from guardrail.training.examples import encode_answer
from guardrail.training.token_labels.settings import Mode, TokenLabelsSettings

_SENTENCE_END = re.compile(r"""[.!?…؟।]+["'”’»)\]]*(?=\s)|[。！？｡]+["'”’」』）]*|\n""")

_JOINER = "\u200d"
_SKIN_TONES = range(0x1F3FB, 0x1F400)


@dataclass(frozen=True, slots=True)
class Place:
    """A beginning of the answer, whole characters, that ends where a token ends.

    Attributes:
        token: number of that token, from 0, among the answer's.
        start: characters of the place before, 0 at the first one: where the token's label begins if this is the onset.
        end: characters of this beginning.
    """

    token: int
    start: int
    end: int


def places_of(tokenizer: GuardTokenizer, text: str) -> list[Place]:
    """Return all beginnings of an answer that can be asked about, by the tokens that the guard is trained on.

    A mark, or a part of an emoji, stays with the character before it: a cut there would show another letter. Ours.
    """
    places: list[Place] = []
    tokens = [token for token in encode_answer(tokenizer, text) if token.is_content]
    for number, token in enumerate(tokens):
        start = places[-1].end if places else 0
        if token.complete and token.end > start and _is_between_characters(text, token.end):
            places.append(Place(number, start, token.end))
    return places


def _is_between_characters(text: str, offset: int) -> bool:
    """Whether people see two characters, not one, on the two sides of an offset."""
    if offset == len(text):
        return True
    following = text[offset]
    is_joined = text[offset - 1] == _JOINER or following == _JOINER or ord(following) in _SKIN_TONES
    return not is_joined and not unicodedata.category(following).startswith("M")


def ends_of(places: Sequence[Place], text: str, mode: Mode, settings: TokenLabelsSettings) -> list[int]:
    """Return the indices of the places at which the search looks first, rising; the last place is always among them."""
    if not places:
        return []
    last = len(places) - 1
    if mode == "exact":
        return list(range(last + 1))
    if mode == "stride":
        return [*range(settings.stride - 1, last, settings.stride), last]
    ends = [place.end for place in places]
    found = {bisect_left(ends, match.end()) for match in _SENTENCE_END.finditer(text)}
    marks = sorted({index for index in found if index < last} | {last})
    return [index for low, high in zip([-1, *marks], marks, strict=False) for index in _cut(low, high, settings)]


def _cut(low: int, high: int, settings: TokenLabelsSettings) -> list[int]:
    """Return the places from behind `low` up to `high` that are at most `longest_stretch` apart, `high` the last."""
    return [*range(low + settings.longest_stretch, high, settings.longest_stretch), high]

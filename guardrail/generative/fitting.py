"""Fits questions into the model's context: old turns go first, the text under judgement is read whole where it can be.

As for other models (`windowing.py`), with turns in place of messages, and a size in place of token ids.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from guardrail.conversation import Segment
from guardrail.errors import ContextOverflow
from guardrail.generative.template import Turn
from guardrail.windowing import WINDOW_OVERLAP

Fits = Callable[[Sequence[Turn]], bool]
"""Whether a question is short enough."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A question that fits.

    Attributes:
        turns: its turns.
        n_dropped: old turns that it leaves out.
        is_cut: whether the beginning of its last turns is left out too.
    """

    turns: list[Turn]
    n_dropped: int
    is_cut: bool = False


def without_old_turns(turns: Sequence[Turn], n_judged: int, fits: Fits) -> Kept | None:
    """Return a question with as many old turns as fit; None if none of them does.

    Args:
        turns: all of them; the system's stands first, and stays as long as it fits.
        n_judged: last ones that must stay: a response stays with the turn before it.
        fits: says what is short enough.
    """
    if fits(turns):
        return Kept([*turns], 0)
    judged = len(turns) - n_judged
    system = [turn for turn in turns[:1] if turn.role == "system" and judged]
    old = turns[len(system) : judged]
    starts = [i for i in range(1, len(old)) if old[i].role == "user"]  # a conversation cannot begin with the assistant
    found = [[*system, *old[start:], *turns[judged:]] for start in starts]
    found += [[*system, *turns[judged:]], [*turns[judged:]]]
    at = next((kept for kept in found if fits(kept)), None)
    return None if at is None else Kept(at, len(turns) - len(at))


def windows(turn: Turn, fits: Fits) -> list[list[Turn]]:
    """Return a turn that is too long in overlapping pieces, each by itself; together they hold all of it.

    Raises:
        ContextOverflow: not even a character fits.
    """
    n_chars, pieces, start, stop = _length(turn), [], 0, 0
    while stop < n_chars:
        size = _fitting(_cut(turn, start, n_chars), fits)
        stop = start + size
        pieces.append(_checked([_cut(turn, start, stop)], fits))
        start += max(1, size - size // WINDOW_OVERLAP)
    return pieces


def _fitting(turn: Turn, fits: Fits) -> int:
    """Return the most characters of a turn's beginning that fit by themselves."""
    return _largest(_length(turn), lambda n: fits([_cut(turn, 0, n)]))


def latest(turns: Sequence[Turn], fits: Fits) -> list[Turn]:
    """Return the last turns without their beginnings: half of what fits for the response, the rest for the others.

    Raises:
        ContextOverflow: not even a character fits.
    """
    *before, judged = turns
    n_response, n_before = _length(judged), sum(map(_length, before))

    def kept(n: int, m: int) -> list[Turn]:
        return [*_ends(before, m), _cut(judged, n_response - n, n_response)]

    alone = _largest(n_response, lambda n: fits(kept(n, 0)))
    n_kept = min(n_response, max(alone // 2, _largest(n_response, lambda n: fits(kept(n, n_before)))))
    return _checked(kept(n_kept, _largest(n_before, lambda m: fits(kept(n_kept, m)))), fits)


def _checked(turns: list[Turn], fits: Fits) -> list[Turn]:
    if not fits(turns):
        raise ContextOverflow("the model's context has no room for a text beside its task and policy")
    return turns


def _ends(turns: Sequence[Turn], n_chars: int) -> list[Turn]:
    """Return turns with the last `n_chars` characters of all of them."""
    kept: list[Turn] = []
    for turn in reversed(turns):
        n = min(n_chars, _length(turn))
        kept.insert(0, _cut(turn, _length(turn) - n, _length(turn)))
        n_chars -= n
    return kept


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number up to `most` that fits, of numbers of which every smaller one fits; at least 1."""
    return most if fits(most) else max(1, bisect_left(range(most), True, key=lambda n: not fits(n)) - 1)


def _length(turn: Turn) -> int:
    return sum(len(part.text) for part in turn.parts if part.kind == "content")


def _cut(turn: Turn, start: int, stop: int) -> Turn:
    """Return a turn with the characters from `start` to before `stop` of what people and models wrote."""
    parts: list[Segment] = []
    for part in turn.parts:
        if part.kind == "content":
            parts.append(replace(part, text=part.text[max(0, start) : max(0, stop)]))
            start, stop = start - len(part.text), stop - len(part.text)
        else:
            parts.append(part)
    return replace(turn, parts=tuple(parts))

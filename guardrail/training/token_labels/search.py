"""Finds the onset: the first place where the judge and the rollouts agree.

The places are cut into stretches. A stretch whose last place the judge calls safe is passed over. Inside one that it
does not, the judge's first place is found by halves; only then are rollouts asked for, there first, since both must
hold and the judge is the cheaper one. Stretches of a single place make this exact, whatever the signs do. Longer ones
assume that inside a stretch what has turned risky stays so up to its end.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

Holds = Callable[[int], Awaitable[bool]]


class Signs(Protocol):
    """What is asked about a place, by its index; each question is asked once, however often it is put."""

    async def is_risky(self, place: int) -> bool:
        """Return whether the judge calls the text up to here unsafe or controversial."""

    async def leads_to_risk(self, place: int) -> bool:
        """Return whether enough of the rollouts from here are judged unsafe or controversial."""


async def first_place(ends: Sequence[int], signs: Signs) -> int | None:
    """Return the index of the onset; None if there is none. Both signs have been seen to hold there.

    Args:
        ends: index of the last place of each stretch, rising.
        signs: asked no more than needed.
    """
    low = 0
    for high in ends:
        found = await _within(low, high, signs)
        if found is not None:
            return found
        low = high + 1
    return None


async def _within(low: int, high: int, signs: Signs) -> int | None:
    """Return the onset if it lies in a stretch, `high` included."""
    if not await signs.is_risky(high):
        return None
    first = await _halve(low, high, signs.is_risky)
    if await signs.leads_to_risk(first):
        return first
    if first == high or not await signs.leads_to_risk(high):
        return None

    async def agree(place: int) -> bool:
        return await signs.is_risky(place) and await signs.leads_to_risk(place)

    return await _halve(first + 1, high, agree)


async def _halve(low: int, high: int, holds: Holds) -> int:
    """Return the first place that holds, if every later one does up to `high`, of which it is known."""
    while low < high:
        middle = (low + high) // 2
        if await holds(middle):
            high = middle
        else:
            low = middle + 1
    return high

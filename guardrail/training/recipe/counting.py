"""What a stage asked of models, over all the times that they were opened."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from guardrail.training.recipe.asking import Asking
from guardrail.training.recipe.manifest import CallCounts

Calls = Mapping[str, CallCounts]
"""By name of the model; models that were asked nothing are left out."""


class Counter:
    """Opens what asks models, and keeps count."""

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[Asking]], before: Calls) -> None:
        """Set up.

        Args:
            opened: opens it.
            before: what earlier starts had asked.
        """
        self._opened, self._past = opened, dict(before)
        self._asking: Asking | None = None

    @property
    def calls(self) -> dict[str, CallCounts]:
        """What was asked up to now."""
        return joined(self._past, {} if self._asking is None else counts_of(self._asking.tallies))

    def add(self, calls: Calls) -> None:
        """Count what was asked elsewhere."""
        self._past = joined(self._past, calls)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Asking]:
        """Open it; what is still under way at the end is counted too."""
        try:
            async with self._opened() as self._asking:
                yield self._asking
        finally:
            if self._asking is not None:
                self.add(counts_of(self._asking.tallies))
            self._asking = None


def counts_of(tallies: Calls) -> dict[str, CallCounts]:
    """Return what was asked up to now, without models that were asked nothing."""
    return {name: tally.model_copy() for name, tally in tallies.items() if tally}


def joined(one: Calls, other: Calls) -> dict[str, CallCounts]:
    """Return the sums by model."""
    names = sorted({*one, *other})
    return {name: one.get(name, CallCounts()).plus(other.get(name, CallCounts())) for name in names}


def since(before: Calls, now: Calls) -> dict[str, CallCounts]:
    """Return what was asked between two counts."""
    return {name: counts.minus(before.get(name, CallCounts())) for name, counts in now.items()}


def total_of(calls: Calls) -> CallCounts:
    """Return the sums over models."""
    total = CallCounts()
    for one in calls.values():
        total = total.plus(one)
    return total

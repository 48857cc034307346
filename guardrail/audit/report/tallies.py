"""Counts of decisions that can be added up: of a tenant, a category, a bin of time, a conversation."""

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, Self, TypeVar

from guardrail.actions import Action
from guardrail.records import Record
from guardrail.taxonomy import RiskLevel

_STOP = Action.STOP
_INDEX = {action: index for index, action in enumerate(Action)}


class Tally:
    """How many decisions took which action, and when the first and the last of them were made.

    Attributes:
        actions: decisions by action, in the order of `Action`.
        n_would_stop: decisions that only shadow mode kept from being stops.
        first: time of the earliest, seconds since the epoch; None where none has a readable time.
        last: time of the latest.
    """

    __slots__ = ("actions", "first", "last", "n_would_stop")

    def __init__(self) -> None:
        self.actions = [0] * len(_INDEX)
        self.n_would_stop = 0
        self.first: float | None = None
        self.last: float | None = None

    @property
    def n(self) -> int:
        """Decisions."""
        return sum(self.actions)

    @property
    def n_stops(self) -> int:
        """Decisions that stopped."""
        return self.actions[_INDEX[_STOP]]

    @property
    def rank(self) -> tuple[float, ...]:
        """What comes first in a list, largest first."""
        return (self.n,)

    def add(self, record: Record, time: float | None) -> None:
        """Count a decision, made at a time."""
        self.actions[_INDEX[record.action]] += 1
        if record.would_action is _STOP and record.action is not _STOP:
            self.n_would_stop += 1
        if time is not None:
            self._widen(time, time)

    def merge(self, other: Self) -> None:
        """Count what another one has counted."""
        self.actions = [mine + theirs for mine, theirs in zip(self.actions, other.actions, strict=True)]
        self.n_would_stop += other.n_would_stop
        if other.first is not None and other.last is not None:
            self._widen(other.first, other.last)

    def _widen(self, first: float, last: float) -> None:
        if self.first is None or first < self.first:
            self.first = first
        if self.last is None or last > self.last:
            self.last = last


class FailureTally(Tally):
    """Failures of one kind.

    Attributes:
        message: of the earliest.
    """

    __slots__ = ("_earliest",)

    def __init__(self) -> None:
        super().__init__()
        self._earliest: tuple[float, str] | None = None

    @property
    def message(self) -> str:
        """The earliest one's message."""
        return self._earliest[1] if self._earliest else ""

    def add(self, record: Record, time: float | None) -> None:
        super().add(record, time)
        if record.failure:
            self._keep((float("inf") if time is None else time, bounded(record.failure.message)))

    def merge(self, other: Self) -> None:
        super().merge(other)
        if other._earliest:
            self._keep(other._earliest)

    def _keep(self, one: tuple[float, str]) -> None:
        self._earliest = min(self._earliest or one, one)


class ConversationTally(Tally):
    """One conversation.

    Attributes:
        n_risky: decisions that the policy's rules stopped, or would have in shadow mode, because of what was read.
        peak: highest probability that a text of it is not Safe, in [0, 1]; None where none was measured.
    """

    __slots__ = ("_worst", "n_risky", "peak")

    def __init__(self) -> None:
        super().__init__()
        self.n_risky = 0
        self.peak: float | None = None
        self._worst: tuple[int, int, float, str] | None = None

    @property
    def category(self) -> str:
        """Kind of harm of the worst decision: hardest action, then highest risk, then most probable; "" without any."""
        return self._worst[3] if self._worst else ""

    @property
    def rank(self) -> tuple[float, ...]:
        return self.n_risky, 0.0 if self.peak is None else self.peak, self.n_stops, self.n

    def add(self, record: Record, time: float | None) -> None:
        super().add(record, time)
        risk, probability = record.risk, non_safe_probability(record)
        if probability is not None:
            self.peak = probability if self.peak is None else max(self.peak, probability)
        if risk is None or risk is RiskLevel.SAFE:
            return
        self.n_risky += record.would_action is _STOP
        if record.category:
            self._keep((record.would_action.rank, risk.rank, probability or 0.0, record.category))

    def merge(self, other: Self) -> None:
        super().merge(other)
        self.n_risky += other.n_risky
        if other.peak is not None:
            self.peak = other.peak if self.peak is None else max(self.peak, other.peak)
        if other._worst:
            self._keep(other._worst)

    def _keep(self, one: tuple[int, int, float, str]) -> None:
        self._worst = max(self._worst or one, one)


def non_safe_probability(record: Record) -> float | None:
    """Return how probable it is that a record's decisive text is not Safe, in [0, 1]; None where nobody measured it."""
    if not record.risk_probabilities or record.is_scored is False:
        return None
    safe = record.risk_probabilities.get(RiskLevel.SAFE.value)
    return None if safe is None else min(max(1.0 - safe, 0.0), 1.0)


MAX_NAME_CHARS = 200
"""Longest name that is kept whole: a name is somebody else's text. Our choice."""


def bounded(name: str) -> str:
    """Return a name, shortened if it is very long; two that begin alike may then become one."""
    return name if len(name) <= MAX_NAME_CHARS else f"{name[: MAX_NAME_CHARS - 1]}…"


class Mergeable(Protocol):
    """A tally of any kind."""

    @property
    def rank(self) -> tuple[float, ...]:
        """What comes first in a list, largest first."""
        ...

    @property
    def n_stops(self) -> int:
        """Decisions that stopped."""
        ...

    def add(self, record: Record, time: float | None) -> None:
        """Count a decision."""
        ...

    def merge(self, other: Self) -> None:
        """Count what another one has counted."""
        ...


Key = tuple[str, ...]
T = TypeVar("T", bound=Mergeable)


class Leading(Generic[T]):
    """Tallies by key, in bounded memory: where there are too many keys, those of the lowest rank are added up.

    The tallies of `items` and `rest` together hold every decision, always. While no key was dropped they are exact;
    then a listed key may have been dropped before and come back, so that its own numbers are too low: its stops by at
    most `stops_error`.

    Attributes:
        rest: what was dropped, together.
        n_dropped: how often a key was dropped.
        stops_error: by how many stops a key's own number may be too low.
    """

    def __init__(self, capacity: int, make: Callable[[], T]) -> None:
        """Make room.

        Args:
            capacity: keys that are always kept; up to twice as many are held.
            make: returns an empty tally.
        """
        self._capacity, self._make = capacity, make
        self._tallies: dict[Key, T] = {}
        self.rest = make()
        self.n_dropped = 0
        self.stops_error = 0

    def __len__(self) -> int:
        return len(self._tallies)

    def add(self, key: Key, record: Record, time: float | None) -> None:
        """Count a decision under a key."""
        self._tally(key).add(record, time)

    def merge(self, other: Self) -> None:
        """Count what another one has counted."""
        self.rest.merge(other.rest)
        self.n_dropped += other.n_dropped
        self.stops_error += other.stops_error
        for key, tally in other.items():
            self._tally(key).merge(tally)

    def items(self) -> Iterator[tuple[Key, T]]:
        """Yield every kept key with its tally."""
        yield from self._tallies.items()

    def ranked(self) -> list[tuple[Key, T]]:
        """Return the kept keys with their tallies, the highest rank first, equal ones by key."""
        return sorted(self._tallies.items(), key=lambda item: (*(-part for part in item[1].rank), item[0]))

    def _tally(self, key: Key) -> T:
        tally = self._tallies.get(key)
        if tally is None:
            if len(self._tallies) >= 2 * self._capacity:
                self._prune()
            tally = self._tallies[key] = self._make()
        return tally

    def _prune(self) -> None:
        ranked = self.ranked()
        self._tallies = dict(ranked[: self._capacity])
        dropped = [tally for _, tally in ranked[self._capacity :]]
        self.n_dropped += len(dropped)
        self.stops_error += max((tally.n_stops for tally in dropped), default=0)
        for tally in dropped:
            self.rest.merge(tally)

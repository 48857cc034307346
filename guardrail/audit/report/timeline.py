"""Decisions over time, in bins that widen with the period."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from guardrail.audit.report.tallies import Leading, Tally, bounded
from guardrail.decision import Direction
from guardrail.records import Record

WIDTHS_S = (1, 10, 60, 300, 900, 3600, 10800, 21600, 86400, 7 * 86400, 28 * 86400, 364 * 86400)
"""Widths of bins in seconds; each divides the next, so that narrow bins add up to wider ones."""

MAX_SHOWN = 160
"""Most bins of a report. Our choice."""

_MONDAY_S = 4 * 86400
"""From the epoch to its first Monday, UTC: bins begin there, so that weeks begin on Mondays."""

_MAX_KEPT = 2000

_FAR_SHARE = 0.002
"""Most decisions that may be left out as far away, and one of 50 or more always. Our choice."""
_FAR_FACTOR = 10
"""How many times shorter the period must become by that. Our choice."""

_KINDS_PER_BIN = 12


class Bin:
    """What happened in one bin of time.

    Attributes:
        directions: decisions by direction.
        failures: by kind.
    """

    __slots__ = ("directions", "failures")

    def __init__(self) -> None:
        self.directions: dict[Direction, Tally] = {}
        self.failures: Leading[Tally] = Leading(_KINDS_PER_BIN, Tally)

    @property
    def n(self) -> int:
        """Decisions."""
        return sum(tally.n for tally in self.directions.values())

    def add(self, record: Record) -> None:
        """Count a decision."""
        self._tally(record.direction).add(record, None)
        if record.failure:
            self.failures.add((bounded(record.failure.kind),), record, None)

    def merge(self, other: Self) -> None:
        """Count what another one has counted."""
        for direction, tally in other.directions.items():
            self._tally(direction).merge(tally)
        self.failures.merge(other.failures)

    def _tally(self, direction: Direction) -> Tally:
        return self.directions.setdefault(direction, Tally())


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins to be shown, without gaps.

    Attributes:
        width_s: of each, seconds.
        bins: first moment of each, seconds since the epoch, with what happened in it.
        n_far: decisions that are left out, since their times lie so far off that all others would share a few bins.
    """

    width_s: int
    bins: tuple[tuple[int, Bin], ...]
    n_far: int


class Timeline:
    """Counts decisions by time in at most 2,000 bins that are not empty: when there are more, they are widened.

    The width depends on the times alone, not on their order.
    """

    def __init__(self) -> None:
        self._level = 0
        self._bins: dict[int, Bin] = {}

    def add(self, record: Record, time: float) -> None:
        """Count a decision made at a time, seconds since the epoch."""
        start = _start(time, WIDTHS_S[self._level])
        found = self._bins.get(start)
        if found is None:
            found = self._bins[start] = Bin()
        found.add(record)
        self._fit()

    def merge(self, other: Self) -> None:
        """Count what another one has counted."""
        self._level = max(self._level, other._level)
        width = WIDTHS_S[self._level]
        self._bins = _regrouped([*self._bins.items(), *other._bins.items()], width)
        self._fit()

    def shown(self) -> Bins:
        """Return at most `MAX_SHOWN` bins of the least width that allows it, empty ones between them too."""
        starts, n_far = self._near()
        if not starts:
            return Bins(WIDTHS_S[0], (), 0)
        level = self._level
        while level + 1 < len(WIDTHS_S) and _n_bins(starts, WIDTHS_S[level]) > MAX_SHOWN:
            level += 1
        width = WIDTHS_S[level]
        grouped = _regrouped(((start, self._bins[start]) for start in starts), width)
        first = min(grouped)
        every = range(first, max(grouped) + 1, width) if _n_bins(list(grouped), width) <= MAX_SHOWN else sorted(grouped)
        return Bins(width, tuple((start, grouped.get(start) or Bin()) for start in every), n_far)

    def _near(self) -> tuple[list[int], int]:
        """Return the starts of the bins without a few far-off ones, such as of a clock that was wrong, and how many
        decisions those hold.
        """
        starts = sorted(self._bins)
        n_all = sum(one.n for one in self._bins.values())
        n_allowed = max(int(n_all * _FAR_SHARE), int(n_all >= 50))
        low, high, n_far = 0, len(starts) - 1, 0
        while low < high:
            # the end with the wider gap
            is_low = starts[low + 1] - starts[low] > starts[high] - starts[high - 1]
            n = self._bins[starts[low if is_low else high]].n
            if n_far + n > n_allowed:
                break
            n_far += n
            low, high = (low + 1, high) if is_low else (low, high - 1)
        if starts and starts[-1] - starts[0] < _FAR_FACTOR * max(starts[high] - starts[low], WIDTHS_S[self._level]):
            return starts, 0
        return starts[low : high + 1], n_far

    def _fit(self) -> None:
        while len(self._bins) > _MAX_KEPT and self._level + 1 < len(WIDTHS_S):
            self._level += 1
            self._bins = _regrouped(self._bins.items(), WIDTHS_S[self._level])


def _start(time: float, width_s: int) -> int:
    return int((time - _MONDAY_S) // width_s) * width_s + _MONDAY_S


def _n_bins(starts: list[int], width_s: int) -> int:
    return (_start(max(starts), width_s) - _start(min(starts), width_s)) // width_s + 1


def _regrouped(bins: Iterable[tuple[int, Bin]], width_s: int) -> dict[int, Bin]:
    """Return new bins of a width that each of the given ones' divides."""
    grouped: dict[int, Bin] = {}
    for start, one in bins:
        grouped.setdefault(_start(start, width_s), Bin()).merge(one)
    return grouped

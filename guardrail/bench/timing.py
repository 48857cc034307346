"""How measurements are taken and summed up: seconds of calls, and the spread of many."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np

T = TypeVar("T")


class Watch(Protocol):
    """Goes through the steps of a measurement and shows how far it is."""

    def __call__(self, steps: Sequence[T], title: str, /) -> Iterable[T]:
        """Yield each step; the title says what is measured."""
        ...


def unwatched(steps: Sequence[T], _title: str, /) -> Iterable[T]:
    """Go through the steps and show nothing."""
    return steps


@dataclass(frozen=True, slots=True)
class Spread:
    """Many measurements of one thing, in its unit.

    Attributes:
        median: half of them lie below.
        p10: a tenth of them lies below.
        p90: nine tenths lie below.
        p95: 19 of 20 lie below.
        p99: 99 of 100 lie below; with fewer measurements, close to the largest.
        n: how many there were.
    """

    median: float
    p10: float
    p90: float
    p95: float
    p99: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Sum up at least one measurement."""
        median, p10, p90, p95, p99 = np.quantile(values, (0.5, 0.1, 0.9, 0.95, 0.99)).tolist()
        return cls(median, p10, p90, p95, p99, len(values))


def seconds_of(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started

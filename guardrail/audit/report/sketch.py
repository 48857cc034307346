"""Quantiles of any number of values in bounded memory."""

import math
from typing import Self

ERROR = 0.01
"""Largest relative error of a quantile. Our choice."""

_GAMMA = (1 + ERROR) / (1 - ERROR)
_LOG_GAMMA = math.log(_GAMMA)
_SMALLEST = 1e-6


class Sketch:
    """A DDSketch (Masson, Rim, Lee, VLDB 2019): counts in buckets whose bounds grow by a constant factor.

    A quantile is at most `ERROR` away from the exact one, relative to it, however many values there are and in
    whatever order they came; merging loses nothing. Values below 1e-6 count as 0. At most 36,000 buckets, and some
    hundreds for latencies. Not safe for threads.

    Attributes:
        n: values that were added.
        maximum: the largest, exactly; None without values.
    """

    __slots__ = ("_buckets", "_n_zeros", "maximum", "minimum", "n")

    def __init__(self) -> None:
        self.n = 0
        self.minimum: float | None = None
        self.maximum: float | None = None
        self._n_zeros = 0
        self._buckets: dict[int, int] = {}

    def add(self, value: float) -> None:
        """Count a value of at least 0; one that is no finite number is left out."""
        if not math.isfinite(value):
            return
        value = max(value, 0.0)
        self.n += 1
        self.minimum = value if self.minimum is None else min(self.minimum, value)
        self.maximum = value if self.maximum is None else max(self.maximum, value)
        if value < _SMALLEST:
            self._n_zeros += 1
            return
        index = math.ceil(math.log(value) / _LOG_GAMMA)
        self._buckets[index] = self._buckets.get(index, 0) + 1

    def merge(self, other: Self) -> None:
        """Count what another sketch has counted."""
        self.n += other.n
        self._n_zeros += other._n_zeros
        for index, n in other._buckets.items():
            self._buckets[index] = self._buckets.get(index, 0) + n
        ends = [end for end in (self.minimum, self.maximum, other.minimum, other.maximum) if end is not None]
        self.minimum, self.maximum = min(ends, default=None), max(ends, default=None)

    def quantile(self, share: float) -> float | None:
        """Return the value below which a share of all values in [0, 1] lies; None without values.

        The exact one would be the value of rank `floor(share * (n - 1))` in ascending order.
        """
        if self.minimum is None or self.maximum is None:
            return None
        left = math.floor(share * (self.n - 1)) - self._n_zeros
        if left < 0:
            return self.minimum
        for index in sorted(self._buckets):
            left -= self._buckets[index]
            if left < 0:
                middle = 2 * math.exp(index * _LOG_GAMMA) / (1 + _GAMMA) if index * _LOG_GAMMA < 709 else self.maximum
                return min(max(middle, self.minimum), self.maximum)
        return self.maximum

"""Quantiles of a sketch against those of the sorted values."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guardrail.audit.report.sketch import ERROR, Sketch

values = st.lists(st.floats(0, 1e9) | st.floats(0.1, 500), min_size=1, max_size=80)


def sketch(of: list[float]) -> Sketch:
    """Return a sketch of values."""
    made = Sketch()
    for value in of:
        made.add(value)
    return made


@given(values, st.floats(0, 1))
@example([0.0, 0.0, 3.0], 0.5)
@example([1e-9, 1e300, 1.7e308], 1.0)
def test_a_quantile_is_within_the_stated_error(of: list[float], share: float) -> None:
    """Relative to the value of that rank among the sorted ones; the ends are exact."""
    exact = sorted(of)[math.floor(share * (len(of) - 1))]
    found = sketch(of).quantile(share)
    assert found == pytest.approx(exact, rel=ERROR * 1.0001, abs=1e-6)
    assert sketch(of).maximum == max(of)


@given(values, values)
def test_merging_loses_nothing(some: list[float], others: list[float]) -> None:
    """Two sketches merged are the sketch of all values, to the last bucket."""
    merged, whole = sketch(some), sketch(some + others)
    merged.merge(sketch(others))
    shares = [i / 20 for i in range(21)]
    assert merged.n == whole.n
    assert [merged.quantile(share) for share in shares] == [whole.quantile(share) for share in shares]


def test_memory_does_not_grow_with_the_values() -> None:
    """A million times as many values of the same range take no more buckets."""
    made = sketch([1 + i % 5000 / 10 for i in range(100_000)])
    assert len(made._buckets) < 400


def test_nothing_has_no_quantiles_and_what_is_no_number_is_left_out() -> None:
    """None, never 0."""
    assert sketch([]).quantile(0.5) is None
    made = sketch([math.nan, math.inf, 2.0])
    assert (made.n, made.quantile(0.5), made.maximum) == (1, 2.0, 2.0)

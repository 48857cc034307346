"""Figures against hand-computed values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.evaluation.metrics import auc, rate, scores


def test_auc_counts_pairs_and_halves_ties() -> None:
    """Positives .9 and .5, negatives .5 and .1: of four pairs three are won and one is a tie."""
    gold = np.array([True, True, False, False])
    assert auc(gold, np.array([0.9, 0.5, 0.5, 0.1])).value == pytest.approx(3.5 / 4)


def test_auc_of_one_class_is_not_a_number_but_nothing() -> None:
    """Nothing can be ranked."""
    assert auc(np.array([True, True]), np.array([0.1, 0.2])).value is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs_won(pairs: list[tuple[bool, int]]) -> None:
    """Against the definition, pair by pair."""
    positives = [s for g, s in pairs if g]
    negatives = [s for g, s in pairs if not g]
    found = auc(np.array([g for g, _ in pairs]), np.array([s for _, s in pairs], np.float64)).value
    if not positives or not negatives:
        assert found is None
        return
    won = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    assert found == pytest.approx(won / (len(positives) * len(negatives)))


def test_wilson_interval_of_a_known_case() -> None:
    """8 of 10: the textbook interval is 0.490 to 0.943."""
    found = rate(8, 10)
    assert found.low == pytest.approx(0.4902, abs=1e-4)
    assert found.high == pytest.approx(0.9433, abs=1e-4)


def test_a_rate_without_rows_is_unknown() -> None:
    """Zero of zero is no share."""
    assert rate(0, 0).value is None


def test_precision_recall_and_f1() -> None:
    """Two hits, one miss, one false alarm."""
    found = scores(np.array([1, 1, 1, 0, 0], bool), np.array([1, 1, 0, 1, 0], bool))
    assert found.precision.value == pytest.approx(2 / 3)
    assert found.recall.value == pytest.approx(2 / 3)
    assert found.f1.value == pytest.approx(2 / 3)
    assert found.f1.low is not None
    assert found.f1.low < 2 / 3

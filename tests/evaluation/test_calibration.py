"""Calibration against hand-computed values and scikit-learn."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from guardrail.evaluation.calibration import Calibration, calibration
from guardrail.evaluation.metrics import BoolArray, FloatArray, Resamples, independent


def measured(gold: BoolArray, score: FloatArray, n_bins: int = 10) -> Calibration:
    """Calibration of independent rows."""
    rows = independent(len(gold))
    return calibration(gold, score, rows, Resamples(rows), n_bins)


def test_error_of_two_bins_by_hand() -> None:
    """Scores .1 .3 | .6 .8, harmful none and one of two: |.2 - 0| and |.7 - .5|, half of the rows each."""
    found = measured(np.array([0, 0, 1, 0], bool), np.array([0.1, 0.3, 0.6, 0.8]), 2)
    assert found.error.value == pytest.approx((0.2 + 0.2) / 2)
    assert [b.score for b in found.bins] == pytest.approx([0.2, 0.7])
    assert [b.harmful.value for b in found.bins] == [0.0, 0.5]
    assert found.brier.value == pytest.approx((0.01 + 0.09 + 0.16 + 0.64) / 4)


def test_bins_and_brier_are_scikit_learns() -> None:
    """Bins of equally many rows."""
    rng = np.random.default_rng(2)
    score = rng.random(1000)
    gold = rng.random(1000) < score**2
    found = measured(gold, score)
    harmful, told = calibration_curve(gold, score, n_bins=10, strategy="quantile")
    assert [b.harmful.value for b in found.bins] == pytest.approx(harmful.tolist())
    assert [b.score for b in found.bins] == pytest.approx(told.tolist())
    assert found.error.value == pytest.approx(np.abs(harmful - told).mean())
    assert found.brier.value == pytest.approx(brier_score_loss(gold, score))


def test_rows_with_one_score_share_a_bin() -> None:
    """The order of rows changes nothing, and a score that says one thing has one bin."""
    gold = np.arange(40) % 4 == 0
    score = np.where(np.arange(40) < 20, 0.25, 0.5)
    order = np.random.default_rng(0).permutation(40)
    one, other = measured(gold, score), measured(gold[order], score[order])
    assert [b.score for b in one.bins] == [b.score for b in other.bins] == [0.25, 0.5]
    assert one.error.value == other.error.value == pytest.approx(0.125)
    assert len(measured(gold, np.full(40, 0.25)).bins) == 1


def test_intervals_hold_the_value() -> None:
    """Of the mean squared error; the calibration error of a right score is small."""
    rng = np.random.default_rng(4)
    score = rng.random(3000)
    found = measured(rng.random(3000) < score, score)
    assert found.brier.value is not None
    assert found.brier.low is not None
    assert found.brier.high is not None
    assert found.brier.low < found.brier.value < found.brier.high
    assert found.error.value is not None
    assert found.error.value < 0.04
    assert measured(np.zeros(0, bool), np.zeros(0)).error.value is None

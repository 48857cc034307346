"""Figures of a ranking against the definition, hand-computed values and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from guardrail.evaluation.metrics import BoolArray, FloatArray, Resamples, independent
from guardrail.evaluation.ranking import CURVE_POINTS, auc, draw_ranking, precision_recall, roc

PAIRS = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30)


def made(n: int, seed: int = 3) -> tuple[BoolArray, FloatArray]:
    """Rows whose score says something about them."""
    rng = np.random.default_rng(seed)
    gold = rng.random(n) < 0.4
    return gold, np.round(rng.normal(gold * 1.0, 1.0), 1)


def test_auc_counts_pairs_and_halves_ties() -> None:
    """Positives .9 and .5, negatives .5 and .1: of four pairs three are won and one is a tie."""
    gold = np.array([True, True, False, False])
    assert auc(gold, np.array([0.9, 0.5, 0.5, 0.1])).value == pytest.approx(3.5 / 4)


def test_nothing_is_said_of_one_class() -> None:
    """Nothing can be ranked."""
    gold, score = np.array([True, True]), np.array([0.1, 0.2])
    found = draw_ranking(gold, score, Resamples(independent(2)))
    assert (found.auc.value, found.average_precision.value, found.recall_at_1.value) == (None, None, None)
    assert found.auc.estimate().low is None
    assert roc(gold, score) == ()
    assert precision_recall(~gold, score) == ()


@given(PAIRS)
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


@pytest.mark.parametrize("n", [10, 200, 2500])
def test_figures_are_scikit_learns(n: int) -> None:
    """With many ties, on few rows and many."""
    gold, score = made(n)
    found = draw_ranking(gold, score, Resamples(independent(n)))
    assert found.auc.value == pytest.approx(roc_auc_score(gold, score))
    assert found.average_precision.value == pytest.approx(average_precision_score(gold, score))
    false_positives, recall, _ = roc_curve(gold, score, drop_intermediate=False)
    assert found.recall_at_1.value == pytest.approx(recall[false_positives <= 0.01 + 1e-9].max())


def test_draws_are_the_figures_of_the_drawn_rows() -> None:
    """Each resample's figures are those of its rows, as often as they were drawn, by scikit-learn."""
    gold, score = made(60)
    resamples = Resamples(np.arange(60) // 2)
    found = draw_ranking(gold, score, resamples)
    weights = np.concatenate([block for _, block in resamples.weights(np.arange(60))])
    for i in range(0, 1000, 97):
        drawn = np.repeat(np.arange(60), weights[i].astype(int))
        assert found.auc.draws[i] == pytest.approx(roc_auc_score(gold[drawn], score[drawn]))
        assert found.average_precision.draws[i] == pytest.approx(average_precision_score(gold[drawn], score[drawn]))


def test_recall_at_one_percent_counts_one_of_a_hundred() -> None:
    """The second negative from the top is one too many; rows with its score are not called."""
    score = np.array([9.0, 8, 7, 6, 6, *np.zeros(98)])
    gold = np.array([True, False, True, False, True, *np.zeros(98, bool)])
    found = draw_ranking(gold, score, Resamples(independent(103))).recall_at_1
    assert found.value == pytest.approx(2 / 3)


def test_curves_are_scikit_learns() -> None:
    """All points of a small set."""
    gold, score = made(80)
    false_positives, recall, _ = roc_curve(gold, score, drop_intermediate=False)
    assert np.allclose(roc(gold, score), np.column_stack([false_positives, recall]))
    precision, found, _ = precision_recall_curve(gold, score)
    assert np.allclose(precision_recall(gold, score)[::-1], np.column_stack([found, precision])[:-1])


def test_a_long_curve_is_thinned_and_keeps_its_ends_and_its_area() -> None:
    """It stays what it was, to the eye."""
    rng = np.random.default_rng(1)
    gold = rng.random(20000) < 0.3
    score = rng.normal(gold * 1.0, 1.0)
    points = roc(gold, score)
    assert len(points) <= CURVE_POINTS
    assert (points[0], points[-1]) == ((0.0, 0.0), (1.0, 1.0))
    x, y = np.array(points).T
    assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(gold, score), abs=2e-3)

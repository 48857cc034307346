"""Figures against hand-computed values, the definition, and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from guardrail.evaluation.metrics import (
    RESAMPLES,
    Drawn,
    Resamples,
    draw_f1,
    draw_rate,
    independent,
    mean_of,
    rate,
    scores,
    share,
)


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


def test_without_a_positive_there_is_no_f1() -> None:
    """Precision is 0 of what was called, recall and F1 say nothing."""
    found = scores(np.zeros(4, bool), np.array([1, 0, 0, 0], bool), independent(4))
    assert (found.precision.value, found.recall.value, found.f1.value) == (0.0, None, None)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_f1_is_scikit_learns(pairs: list[tuple[bool, bool]]) -> None:
    """With and without clusters; the clusters change the interval only."""
    gold, called = (np.array(column, bool) for column in zip(*pairs, strict=True))
    plain, clustered = scores(gold, called), scores(gold, called, np.zeros(len(gold), np.int64))
    assert plain.f1.value == clustered.f1.value
    if gold.any():
        assert plain.f1.value == pytest.approx(f1_score(gold, called, zero_division=0.0))
    else:
        assert plain.f1.value is None


def test_resamples_draw_whole_clusters() -> None:
    """As many as there are, each row of a cluster as often as the others; the same seed draws the same."""
    clusters = np.array([5, 5, 9, 2])
    counts = np.concatenate([block for _, block in Resamples(clusters).weights(np.arange(4))])
    assert counts.shape == (RESAMPLES, 4)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 1:].sum(axis=1) == 3).all()
    assert counts.std() > 0
    again = np.concatenate([block for _, block in Resamples(clusters).weights(np.arange(4))])
    other = np.concatenate([block for _, block in Resamples(clusters, seed=1).weights(np.arange(4))])
    assert (counts == again).all()
    assert not (counts == other).all()


def test_totals_are_the_sums_over_the_drawn_rows() -> None:
    """By clusters or row by row, it is the same sum."""
    columns, resamples = np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]]), Resamples(np.array([0, 0, 1, 2]))
    weights = np.concatenate([block for _, block in resamples.weights(np.arange(4))])
    assert np.allclose(resamples.totals(columns), weights @ columns)


def test_rows_that_share_a_cluster_widen_every_interval() -> None:
    """Each of 40 rows copied five times: the interval is that of 40 rows, not of 200."""
    rng = np.random.default_rng(0)
    gold, called, once = rng.random(40) < 0.5, rng.random(40) < 0.5, independent(40)
    copies, calls = np.repeat(gold, 5), np.repeat(called, 5)
    alone, grouped = scores(gold, called, once), scores(copies, calls, np.repeat(once, 5))
    taken = scores(copies, calls)
    for name in ("precision", "recall", "f1"):
        widths = [getattr(one, name).high - getattr(one, name).low for one in (alone, grouped, taken)]
        assert widths[1] == pytest.approx(widths[0], rel=0.15)
        assert widths[1] > 1.5 * widths[2]


def test_a_share_of_independent_rows_has_wilsons_interval() -> None:
    """Clusters of one row each change nothing."""
    hits = np.array([1, 0, 0, 1, 1], bool)
    assert share(hits, independent(5)) == share(hits) == rate(3, 5)


def test_a_mean_takes_the_figures_that_exist() -> None:
    """Each counts the same, whatever its rows; the interval is narrower than that of one."""
    resamples = [Resamples(independent(30), seed=seed) for seed in (1, 2)]
    hits = np.arange(30) % 3 == 0
    drawn = [draw_rate(hits, np.ones(30, bool), one) for one in resamples]
    missing = Drawn(None, np.full(RESAMPLES, np.nan), 7)
    mean, single = mean_of([*drawn, missing]).estimate(), drawn[0].estimate()
    assert mean.value == pytest.approx(1 / 3)
    assert mean.n == 60
    assert None not in (mean.high, mean.low, single.high, single.low)
    assert mean.high - mean.low < single.high - single.low  # type: ignore[operator]  # none of them is None
    assert mean_of([missing]).estimate().value is None


def test_a_drawn_f1_covers_the_truth() -> None:
    """Of 200 samples with a known F1, about 95 % of the intervals hold it."""
    rng, n_held, truth = np.random.default_rng(5), 0, 2 * 0.8 / (2 * 0.8 + 0.2 + 0.2)
    for seed in range(200):
        gold = rng.random(300) < 0.5
        called = np.where(rng.random(300) < 0.2, ~gold, gold)
        found = draw_f1(gold, called, Resamples(independent(300), seed=seed)).estimate()
        assert found.low is not None
        assert found.high is not None
        n_held += found.low <= truth <= found.high
    assert 180 <= n_held <= 198


@pytest.mark.parametrize("n", range(1, 40))
def test_an_interval_of_all_or_none_ends_where_the_share_is(n: int) -> None:
    """Exactly, and not one rounding beside it."""
    assert (rate(n, n).high, rate(0, n).low) == (1.0, 0.0)

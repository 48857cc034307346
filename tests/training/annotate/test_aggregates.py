import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # ships no types
import pytest
from crowdkit.aggregation.classification.dawid_skene import DawidSkene
from crowdkit.aggregation.classification.majority_vote import MajorityVote
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from guardrail.training.annotate.aggregates import Aggregate, calibrated, confusion, majority, weighted
from guardrail.training.annotate.ballots import NONE, Votes
from guardrail.training.annotate.dawid_skene import dawid_skene
from guardrail.training.annotate.stacking import stacked
from guardrail.training.annotate.tuning import choose
from tests.training.annotate.panel import drawn_votes

Learn = Callable[[Votes, Votes], Aggregate]

votes_of_three = st.integers(1, 30).flatmap(lambda n: arrays(np.int8, (n, 3), elements=st.integers(NONE, 2)))


def test_majority_counts_votes_and_leaves_abstentions_out() -> None:
    """Two of three votes are two thirds; a missing vote is none against."""
    votes = np.array([[0, 0, 2], [1, NONE, NONE], [2, 2, 2]], np.int8)
    assert majority(3).shares(votes) == pytest.approx(np.array([[2 / 3, 0, 1 / 3], [0, 1, 0], [0, 0, 1]]))


def test_the_more_severe_level_wins_a_tie() -> None:
    """One vote each, or none at all, gives the most severe of the levels that are level."""
    shares = majority(3).shares(np.array([[0, 1, 2], [0, 1, NONE], [0, 0, 1]], np.int8))
    assert choose(shares, np.zeros(3)).tolist() == [2, 1, 0]


def test_weights_are_log_odds_of_accuracy() -> None:
    """Right in 8 of 10 with two levels, one right and one wrong vote added: log(9 / 3); no better than a guess: 0."""
    people = np.array([0] * 5 + [2] * 5, np.int8)
    good, bad = people.copy(), 2 - people
    good[:2] = 2
    found = weighted(np.stack([good, bad], axis=1), people, 1.0)
    assert found.scores[0].diagonal() == pytest.approx(np.log(9 / 3))
    assert found.scores[1].tolist() == np.zeros((3, 3)).tolist()
    assert found.shares(np.array([[0, 2]], np.int8)).tolist() == [[1, 0, 0]]


def test_an_abstention_is_not_an_error() -> None:
    """An annotator that never votes on a row is neither right nor wrong there."""
    people = np.array([0, 0, 2, 2], np.int8)
    votes = np.array([[0], [NONE], [2], [NONE]], np.int8)
    assert weighted(votes, people, 1.0).scores[0, 0, 0] == pytest.approx(np.log(3 / 1))


def test_calibrated_is_bayes_rule_on_smoothed_confusions() -> None:
    """Six labels, one annotator, one vote added to each cell: worked out by hand."""
    people = np.array([0, 0, 0, 0, 1, 1], np.int8)
    votes = np.array([[0], [0], [0], [1], [1], [1]], np.int8)
    # of Safe it says Safe 3 + 1, Controversial 1 + 1, Unsafe 0 + 1, of 7; of Controversial 1, 3, 1 of 5
    safe, controversial = 4 / 6 * 2 / 7, 2 / 6 * 3 / 5
    total = safe + controversial
    found = calibrated(votes, people, 1.0).shares(np.array([[1], [NONE]], np.int8))
    assert found[0] == pytest.approx([safe / total, controversial / total, 0])
    assert found[1] == pytest.approx([4 / 6, 2 / 6, 0])


def test_votes_of_independent_annotators_multiply() -> None:
    """Two annotators that are right in four of five make twice as many log odds as one."""
    votes, truth = drawn_votes(4000, [0.7, 0.7], shares=(0.5, 0.0, 0.5))
    votes = np.where(votes == 1, 2 - truth[:, None], votes).astype(np.int8)
    both = calibrated(votes, truth, 1.0).shares(np.array([[2, 2], [2, NONE]], np.int8))
    odds = np.log(both[:, 2] / both[:, 0])
    assert odds[0] == pytest.approx(2 * odds[1], abs=0.2)


@pytest.mark.parametrize("learn", [lambda v, p: calibrated(v, p, 1.0), stacked], ids=["calibrated", "stacked"])
def test_a_level_that_people_never_gave_is_never_given(learn: Learn) -> None:
    """However many annotators say it."""
    people = np.array([0, 2] * 20, np.int8)
    votes = np.stack([people, people, np.ones_like(people)], axis=1)
    assert learn(votes, people).shares(np.ones((1, 3), np.int8))[0, 1] == 0


@pytest.mark.parametrize("learn", [lambda v, p: calibrated(v, p, 1.0), stacked], ids=["calibrated", "stacked"])
def test_a_perfect_annotator_is_followed_against_all_others(learn: Learn) -> None:
    """Three that guess do not outvote one that is always right."""
    votes, truth = drawn_votes(600, [1.0, 0.0, 0.0, 0.0])
    found = learn(votes[:300], truth[:300]).shares(votes[300:])
    assert choose(found, np.zeros(3)).tolist() == truth[300:].tolist()


def test_an_annotator_that_is_always_wrong_is_read_the_other_way_round() -> None:
    """Who says Safe of all that is Unsafe, and Unsafe of all that is Safe, is as good as a perfect one."""
    people = np.array([0, 2] * 50, np.int8)
    found = calibrated((2 - people)[:, None], people, 1.0).shares(np.array([[0], [2]], np.int8))
    assert choose(found, np.zeros(3)).tolist() == [2, 0]


def test_copies_fool_bayes_and_not_the_regression() -> None:
    """Four copies of a poor annotator outvote a good one in naive Bayes' eyes, which takes them for independent."""
    votes, truth = drawn_votes(3000, [0.85, 0.5], shares=(0.5, 0.0, 0.5))
    votes = np.column_stack([votes, *[votes[:, 1]] * 5])
    right = [
        np.mean(choose(learned.shares(votes[1000:]), np.zeros(3)) == truth[1000:])
        for learned in (calibrated(votes[:1000], truth[:1000], 1.0), stacked(votes[:1000], truth[:1000]))
    ]
    assert right[1] > right[0] + 0.05


def crowd(votes: Votes) -> pd.DataFrame:
    """Votes as crowd-kit reads them."""
    tasks, workers = np.nonzero(votes != NONE)
    return pd.DataFrame({"task": tasks, "worker": workers, "label": votes[tasks, workers].astype(int)})


def test_dawid_skene_gives_crowd_kits_own_probabilities() -> None:
    """What is applied here row by row is what crowd-kit found for the rows that it learned from."""
    votes, _ = drawn_votes(400, [0.9, 0.7, 0.5])
    votes[np.random.default_rng(2).random(votes.shape) < 0.1] = NONE
    votes = votes[(votes != NONE).any(axis=1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = DawidSkene()
        model.fit(crowd(votes))
        # one step on, by crowd-kit: the probabilities that its last confusions give
        expected = model._e_step(crowd(votes), model.priors_, model.errors_)
    found = dawid_skene(votes).shares(votes)
    assert found == pytest.approx(expected.sort_index()[[0, 1, 2]].to_numpy(), abs=1e-4)


def test_majority_is_crowd_kits_where_it_is_no_tie() -> None:
    """Shares and levels agree with the library's."""
    votes, _ = drawn_votes(200, [0.8, 0.6, 0.4])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        expected = MajorityVote().fit_predict_proba(crowd(votes)).sort_index()[[0, 1, 2]].to_numpy()
    assert majority(3).shares(votes) == pytest.approx(expected, abs=1e-6)


def test_dawid_skene_finds_the_good_annotator_without_people() -> None:
    """One that is nearly always right beats four poor ones that err apart."""
    votes, truth = drawn_votes(2000, [0.95, 0.4, 0.4, 0.4, 0.4])
    by_all = np.mean(choose(majority(5).shares(votes), np.zeros(3)) == truth)
    assert np.mean(choose(dawid_skene(votes).shares(votes), np.zeros(3)) == truth) > by_all + 0.02


@pytest.mark.parametrize("votes", [np.full((3, 2), NONE, np.int8), np.zeros((0, 2), np.int8)], ids=["silent", "empty"])
def test_dawid_skene_of_no_votes_knows_nothing(votes: Votes) -> None:
    """All levels are alike then, and nothing fails."""
    assert dawid_skene(votes).shares(np.full((1, 2), NONE, np.int8))[0] == pytest.approx([1 / 3] * 3)


@given(votes_of_three, st.permutations(range(3)))
def test_the_order_of_annotators_changes_nothing(votes: Votes, order: list[int]) -> None:
    """A panel is a set."""
    people = np.arange(len(votes), dtype=np.int8) % 3
    turned = votes[:, order]
    assert majority(3).shares(turned) == pytest.approx(majority(3).shares(votes), abs=1e-6)
    for learn in (weighted, calibrated):
        expected = learn(votes, people, 1.0).shares(votes)
        assert learn(turned, people, 1.0).shares(turned) == pytest.approx(expected, abs=1e-6)


@given(votes_of_three)
def test_shares_are_shares(votes: Votes) -> None:
    """In [0, 1], summing to 1, whoever votes and whoever does not."""
    people = np.arange(len(votes), dtype=np.int8) % 3
    for learned in (majority(3), weighted(votes, people, 1.0), calibrated(votes, people, 1.0)):
        found = learned.shares(votes)
        assert (found >= 0).all()
        assert found.sum(axis=1) == pytest.approx(1)


def test_confusion_counts_pairs_and_skips_what_is_missing() -> None:
    """Rows are people's labels, columns what was said."""
    people, called = np.array([0, 0, 2, NONE, 1], np.int8), np.array([0, 2, 2, 1, NONE], np.int8)
    assert confusion(people, called).tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]

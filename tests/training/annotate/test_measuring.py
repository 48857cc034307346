import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # ships no types
import pytest
from crowdkit.metrics.data import alpha_krippendorff
from sklearn.metrics import cohen_kappa_score, f1_score

from guardrail.training.annotate.agreement import alpha, kappas
from guardrail.training.annotate.ballots import NONE
from guardrail.training.annotate.measuring import calibration, macro_f1s
from guardrail.training.annotate.tuning import choose, tune_weights
from tests.training.annotate.panel import drawn_votes


def test_macro_f1_is_scikit_learns() -> None:
    """The mean over the levels that people gave."""
    votes, truth = drawn_votes(300, [0.7])
    found, _ = macro_f1s(truth, {"one": votes[:, 0]}, np.arange(300, dtype=np.int32))
    expected = f1_score(truth, votes[:, 0], average="macro")
    assert found["one"].value == pytest.approx(expected)
    low, high = found["one"].low, found["one"].high
    assert low is not None
    assert high is not None
    assert low < expected < high


def test_a_level_that_people_never_gave_does_not_count() -> None:
    """But calling something so costs the level that it is."""
    people, called = np.array([0, 0, 2, 2], np.int8), np.array([0, 1, 2, 2], np.int8)
    found, _ = macro_f1s(people, {"one": called}, np.arange(4, dtype=np.int32))
    assert found["one"].value == pytest.approx((2 / 3 + 1) / 2)


def test_rows_that_are_left_out_do_not_count() -> None:
    """Neither for the value nor for the number of rows."""
    people, called = np.array([0, 2, 2], np.int8), np.array([0, 2, NONE], np.int8)
    found, _ = macro_f1s(people, {"one": called}, np.arange(3, dtype=np.int32))
    assert (found["one"].value, found["one"].n) == (1, 2)


def test_families_widen_the_interval() -> None:
    """Ten answers to one question that stand or fall together are one observation."""
    rng = np.random.default_rng(3)
    truth = rng.choice([0, 2], 40).astype(np.int8)
    called = np.where(rng.random(40) < 0.7, truth, 2 - truth).astype(np.int8)
    truth, called = np.repeat(truth, 10), np.repeat(called, 10)
    apart, _ = macro_f1s(truth, {"one": called}, np.arange(400, dtype=np.int32))
    together, _ = macro_f1s(truth, {"one": called}, np.repeat(np.arange(40, dtype=np.int32), 10))
    width = [found["one"].high - found["one"].low for found in (apart, together)]  # type: ignore[operator]  # as above
    assert width[1] > 2 * width[0]


def test_what_was_drawn_is_paired() -> None:
    """Two labellings that are the same differ in no draw."""
    votes, truth = drawn_votes(100, [0.7])
    _, drawn = macro_f1s(truth, {"a": votes[:, 0], "b": votes[:, 0]}, np.arange(100, dtype=np.int32))
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert len(np.unique(drawn[:, 0])) > 10


def test_nothing_is_measured_without_rows() -> None:
    """Without people's labels there is no value."""
    none = np.zeros(0, np.int8)
    found, _ = macro_f1s(none, {"one": none}, np.zeros(0, np.int32))
    assert found["one"].value is None


def test_calibration_compares_confidence_and_accuracy() -> None:
    """Two rows at 0.9 of which one is right, one at 0.55 that is right: errors 0.4, 0.4 and 0.45."""
    people, called = np.array([0, 0, 2, 1], np.int8), np.array([0, 2, 2, NONE], np.int8)
    found = calibration(people, called, np.array([0.91, 0.91, 0.55, 0], np.float32))
    assert found.accuracy[9] == 0.5
    assert found.accuracy[5] == 1
    assert found.accuracy[0] is None
    assert found.n == (0, 0, 0, 0, 0, 1, 0, 0, 0, 2)
    assert found.error == pytest.approx((2 * 0.41 + 0.45) / 3)


def test_kappa_is_scikit_learns() -> None:
    """On the rows that both voted on."""
    votes, _ = drawn_votes(300, [0.8, 0.6])
    found = kappas(votes)
    assert found[0, 1] == found[1, 0] == pytest.approx(cohen_kappa_score(votes[:, 0], votes[:, 1]))
    assert found[0, 0] == 1


def test_kappa_of_two_who_never_vote_together_is_not_defined() -> None:
    """It is no number, and no failure."""
    assert np.isnan(kappas(np.array([[0, NONE], [NONE, 2]], np.int8))[0, 1])


def test_alpha_is_crowd_kits() -> None:
    """Votes may be missing."""
    votes, _ = drawn_votes(200, [0.8, 0.6, 0.6])
    votes[np.random.default_rng(4).random(votes.shape) < 0.2] = NONE
    tasks, workers = np.nonzero(votes != NONE)
    told = pd.DataFrame({"task": tasks, "worker": workers, "label": votes[tasks, workers].astype(int)})
    assert alpha(votes) == pytest.approx(alpha_krippendorff(told))


@pytest.mark.parametrize("votes", [[[0, 0], [0, 0]], [[0, NONE], [NONE, 2]]])
def test_alpha_is_not_always_defined(votes: list[list[int]]) -> None:
    """One level alone, or no row with two votes."""
    assert alpha(np.array(votes, np.int8)) is None


def test_tuning_finds_a_level_that_the_votes_shun() -> None:
    """Where an annotator gives Unsafe a third when it is true and a tenth else, Unsafe needs a larger weight."""
    people = np.array([0] * 100 + [2] * 100, np.int8)
    shares = np.array([[0.9, 0, 0.1]] * 100 + [[0.65, 0, 0.35]] * 100, np.float32)
    weights = tune_weights(shares, people)
    assert (choose(shares, np.zeros(3)) == 2).sum() == 0
    assert choose(shares, weights).tolist() == people.tolist()


def test_tuning_leaves_what_is_good() -> None:
    """Votes that are right by themselves keep the weights at 0."""
    shares = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]] * 20, np.float32)
    assert tune_weights(shares, np.array([0, 1, 2] * 20, np.int8)).tolist() == [0, 0, 0]


def test_a_weight_never_brings_a_level_that_has_no_share() -> None:
    """What nobody voted for is not chosen, whatever its weight."""
    assert choose(np.array([[1, 0, 0]], np.float32), np.array([0, 3.0, 3.0])).tolist() == [0]


def test_a_tie_that_rounding_hides_is_a_tie() -> None:
    """Shares that differ in their last bit are alike, and the more severe level wins."""
    third = np.float32(1 / 3)
    assert choose(np.array([[third, 0, np.nextafter(third, np.float32(0))]]), np.zeros(3)).tolist() == [2]

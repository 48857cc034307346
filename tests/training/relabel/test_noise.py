"""Estimates of noise and rules of change, on plain arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from guardrail.taxonomy import RiskLevel
from guardrail.training.learners.learning import LEVELS
from guardrail.training.relabel.noise import changed, joint_of, noise_of
from guardrail.training.relabel.settings import Pair, RelabelSettings

ALL: tuple[Pair, ...] = ("safe-controversial", "safe-unsafe", "controversial-unsafe")
BINARY = (RiskLevel.SAFE, RiskLevel.UNSAFE)

vectors = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 25), st.just(3)), elements=st.floats(0.0078125, 1, width=32)
)


def drawn(vectors: NDArray[np.float32], data: st.DataObject) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Labels and probabilities."""
    given_ = data.draw(arrays.arrays(np.int8, len(vectors), elements=st.integers(0, 2)))
    return given_, vectors / vectors.sum(1, keepdims=True)


def injected(share: float, n: int = 4000) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Labels of which a share is wrong, and a teacher that knows the truth and is not quite sure."""
    chance = np.random.default_rng(0)
    true = chance.random(n) < 0.4
    given_ = true ^ (chance.random(n) < share)
    sure = chance.uniform(0.6, 0.99, n)
    unsafe = np.where(true, sure, 1 - sure)
    return given_.astype(np.int8), np.stack([1 - unsafe, unsafe], 1).astype(np.float32)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.3])
def test_injected_noise_is_estimated(share: float) -> None:
    """By a teacher that is right about the truth: within two points."""
    assert noise_of(joint_of(*injected(share))) == pytest.approx(share, abs=0.02)


def test_the_joint_is_that_of_the_method_counted_by_hand() -> None:
    """Bars are the mean probability of those labelled so: 0.7 for Safe, 0.6 for Unsafe. The third row reaches the bar
    of Unsafe alone, the fifth none; given levels then weigh as they occur.
    """
    safe = np.array([0.95, 0.95, 0.2, 0.2, 0.6], np.float32)
    given_ = np.array([0, 0, 0, 1, 1], np.int8)
    joint = joint_of(given_, np.stack([safe, 1 - safe], 1))
    assert joint == pytest.approx(np.array([[0.4, 0.2], [0.0, 0.4]]))


@given(vectors, st.data())
def test_the_joint_sums_to_one_and_keeps_the_given_shares(found: NDArray[np.float32], data: st.DataObject) -> None:
    """Whatever the teacher says."""
    given_, probabilities = drawn(found, data)
    joint = joint_of(given_, probabilities)
    assert joint.sum() == pytest.approx(1)
    assert joint.sum(1) == pytest.approx(np.bincount(given_, minlength=3) / len(given_))
    assert (joint >= 0).all()


def test_of_no_rows_there_is_no_noise() -> None:
    """Nothing to divide by."""
    joint = joint_of(np.zeros(0, np.int8), np.zeros((0, 3), np.float32))
    assert joint.tolist() == [[0.0] * 3] * 3
    assert noise_of(joint) == 0


@given(vectors, st.data(), st.floats(0, 0.98), st.floats(0, 0.98))
def test_a_larger_margin_changes_fewer_labels(
    found: NDArray[np.float32], data: st.DataObject, one: float, other: float
) -> None:
    """And no other ones."""
    given_, probabilities = drawn(found, data)
    few, many = (
        changed(given_, probabilities, LEVELS, settings_of("confident", margin=margin))
        for margin in (max(one, other), min(one, other))
    )
    moved = few != given_
    assert (few[moved] == many[moved]).all()


@given(vectors, st.data(), st.sets(st.sampled_from(ALL), min_size=1))
def test_a_label_moves_only_where_it_may(found: NDArray[np.float32], data: st.DataObject, pairs: set[Pair]) -> None:
    """And to the likeliest of these levels."""
    given_, probabilities = drawn(found, data)
    after = changed(given_, probabilities, LEVELS, settings_of("full", may_change=tuple(pairs)))
    for old, new, vector in zip(given_, after, probabilities, strict=True):
        open_to = [level for level in range(3) if level == old or name_of(old, level) in pairs]
        assert new in open_to
        assert vector[new] == max(vector[level] for level in open_to)


def name_of(one: int, other: int) -> str:
    """The pair of two levels, the milder one first."""
    mild, harsh = sorted((int(one), int(other)))
    return f"{LEVELS[mild].value.lower()}-{LEVELS[harsh].value.lower()}"


def test_full_takes_the_most_probable_level() -> None:
    """Without a margin and with all moves allowed."""
    _, probabilities = injected(0.2)
    after = changed(np.zeros(len(probabilities), np.int8), probabilities, BINARY, settings_of("full"))
    assert (after == probabilities.argmax(1)).all()


@given(vectors, st.data())
def test_auto_changes_what_the_joint_counts_as_noise(found: NDArray[np.float32], data: st.DataObject) -> None:
    """No more labels than are off its diagonal, scaled back to the rows that were counted."""
    given_, probabilities = drawn(found, data)
    moved = changed(given_, probabilities, LEVELS, settings_of("auto")) != given_
    assert (noise_of(joint_of(given_, probabilities)) > 1e-9) == moved.any()
    assert moved.mean() <= noise_of(joint_of(given_, probabilities)) + 1e-9


def test_auto_holds_each_level_to_its_own_bar() -> None:
    """Half of the Unsafe rows were called Safe, so the teacher is never sure of Unsafe: a margin finds nothing, and
    overwriting makes more rows Safe; the bar of Unsafe lies lower.
    """
    chance = np.random.default_rng(0)
    true = chance.random(4000) < 0.5
    given_ = (true & (chance.random(4000) < 0.45)).astype(np.int8)
    unsafe = np.where(true, 0.42, 0.08) + chance.normal(0, 0.03, 4000)
    probabilities = np.stack([1 - unsafe, unsafe], 1).astype(np.float32)
    errors = {
        rule: (changed(given_, probabilities, BINARY, settings_of(rule)) != true).mean()
        for rule in ("auto", "confident", "full")
    }
    assert errors["auto"] < 0.15 < errors["confident"] < errors["full"]


def settings_of(rule: str, **changes: object) -> RelabelSettings:
    """A rule and what goes with it."""
    return RelabelSettings(rule=rule, **changes)  # type: ignore[arg-type]  # names of fields

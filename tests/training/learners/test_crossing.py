"""Halves teach each other: no family on both sides, every row asked about once, levels weighed as they should."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.taxonomy import RiskLevel
from guardrail.training.learners.crossing import Survey, Teaching, Weighing, cross, levels_of, survey
from guardrail.training.learners.learning import FloatArray
from guardrail.training.recipe.rows import half_of
from tests.training.learners.toy import Counted, Held, SpyLearner, silent, toy_rows

BINARY = (RiskLevel.SAFE, RiskLevel.UNSAFE)
AS_THEY_COME = Weighing("as they come")


def crossed(
    rows: Held, weighings: tuple[Weighing, ...] = (AS_THEY_COME,), most: int = 10_000
) -> tuple[SpyLearner, FloatArray, Survey]:
    """Let all rows teach and ask about all rows."""
    learner, surveyed = SpyLearner(), survey(rows, "salt")
    everything = np.ones(len(rows), np.bool_)
    teaching = Teaching("toy", everything, most, "salt")
    found = cross(learner, rows, surveyed, teaching, everything, BINARY, weighings, silent)
    return learner, found, surveyed


@given(st.lists(st.integers(0, 12), min_size=60, max_size=90))
def test_no_family_teaches_the_classifier_that_judges_it(families: list[int]) -> None:
    """Halves go by the root: translations, pair partners and answers stay together."""
    rows = Held(replace(row, root=f"r{i}") for row, i in zip(toy_rows(len(families)), families, strict=True))
    if len(levels_of(survey(rows, "salt"), np.ones(len(rows), np.bool_), 1)) < 2:
        return
    learner, _, _ = crossed(rows)
    for panel in learner.panels.values():
        assert not {lesson.row.root for lesson in panel.lessons} & {row.root for row in panel.judged}


@given(st.lists(st.integers(0, 12), min_size=60, max_size=90))
def test_a_copy_under_another_root_stands_on_the_same_side(roots: list[int]) -> None:
    """Else a teacher repeats the label of the copy; what shares a root with the copy comes along."""
    rows = Held(replace(row, root=f"r{i}") for row, i in zip(toy_rows(len(roots)), roots, strict=True))
    copies = [replace(row, id=f"{row.id}/copy", root=f"copy-{row.root}-{row.id}") for row in rows]
    half = survey([*rows, *copies], "salt").half
    assert (half[: len(rows)] == half[len(rows) :]).all()
    assert len(set(survey(toy_rows(90), "salt").half.tolist())) == 2


def test_without_copies_a_half_is_that_of_the_root() -> None:
    """One row a root, all texts different."""
    rows = Held({row.judged_text: row for row in toy_rows(200)}.values())
    assert survey(rows, "salt").half.tolist() == [half_of(row.root, "salt") for row in rows]


def test_every_row_is_judged_once_and_the_answer_stands_in_its_place() -> None:
    """The spy answers with the number of the row, across batches of both halves."""
    rows = toy_rows(1500)
    learner, found, _ = crossed(rows)
    assert sorted(row.id for panel in learner.panels.values() for row in panel.judged) == sorted(row.id for row in rows)
    assert found[0, :, 0].tolist() == list(range(1500))


def test_only_the_asked_rows_are_judged() -> None:
    """Others are read past."""
    rows, learner = toy_rows(90), SpyLearner()
    surveyed = survey(rows, "salt")
    asked = np.arange(90) % 4 == 0
    teaching = Teaching("toy", ~asked, 100, "salt")
    found = cross(learner, rows, surveyed, teaching, asked, BINARY, (AS_THEY_COME,), silent)
    assert found[0, :, 0].tolist() == list(range(0, 90, 4))
    assert not {lesson.row.id for p in learner.panels.values() for lesson in p.lessons} & {
        rows[i].id for i in range(0, 90, 4)
    }


def test_the_bars_count_every_row_four_times() -> None:
    """Two halves are read to learn from and to judge, whole."""
    bars: list[Counted] = []

    def show(title: str, n_steps: int) -> Counted:
        bars.append(Counted(title, n_steps))
        return bars[-1]

    rows = toy_rows(600)
    teaching = Teaching("toy", np.ones(600, np.bool_), 1000, "salt")
    cross(SpyLearner(), rows, survey(rows, "salt"), teaching, teaching.taught, BINARY, (AS_THEY_COME,), show)
    assert [(bar.n_steps, bar.n_done) for bar in bars] == [(600, 600)] * 4


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_weights_give_each_level_its_share(share: float) -> None:
    """Whatever the rows are like; on average a row weighs 1."""
    rows = Held(row for row in toy_rows(900) if row.risk is RiskLevel.SAFE or row.meta["kind"] == "Unsafe")
    weighing = Weighing("loose", {RiskLevel.SAFE: share, RiskLevel.UNSAFE: 1 - share})
    learner, _, _ = crossed(rows, (weighing,))
    for panel in learner.panels.values():
        weights = {
            level: sum(panel.variants[0].weights[level] for x in panel.lessons if x.level is level) for level in BINARY
        }
        assert sum(weights.values()) == pytest.approx(len(panel.lessons))
        assert weights[RiskLevel.SAFE] == pytest.approx(share * len(panel.lessons))


def test_relative_shares_multiply_what_the_rows_have() -> None:
    """At 2:1 the odds of Safe are twice those of the rows, though the draw has them otherwise."""
    rows = Held(row for i, row in enumerate(toy_rows(3000)) if row.risk is RiskLevel.SAFE or i % 10 == 0)
    weighing = Weighing("loose", {RiskLevel.SAFE: 0.6, RiskLevel.UNSAFE: 0.3}, is_relative=True)
    learner, _, _ = crossed(rows, (AS_THEY_COME, weighing), most=400)
    for panel in learner.panels.values():
        plain, loose = (variant.weights for variant in panel.variants)
        odds = [weights[RiskLevel.SAFE] / weights[RiskLevel.UNSAFE] for weights in (plain, loose)]
        assert odds[1] == pytest.approx(2 * odds[0])


def test_a_bound_draws_alike_and_keeps_the_rare_level_and_its_weight() -> None:
    """Few Unsafe rows are all drawn, and count no more than they did: as the rows come, one row is one row."""
    rows = Held(row for i, row in enumerate(toy_rows(3000)) if row.risk is RiskLevel.SAFE or i % 10 == 0)
    whole, _, _ = crossed(rows)
    drawn, _, _ = crossed(rows, most=400)
    for name, panel in drawn.panels.items():
        n_all = {level: sum(x.level is level for x in whole.panels[name].lessons) for level in BINARY}
        n_drawn = {level: sum(x.level is level for x in panel.lessons) for level in BINARY}
        assert n_drawn[RiskLevel.UNSAFE] == n_all[RiskLevel.UNSAFE] < 200
        assert 250 < n_drawn[RiskLevel.SAFE] < 450 < n_all[RiskLevel.SAFE]
        weights = panel.variants[0].weights
        ratio = (
            weights[RiskLevel.SAFE] * n_drawn[RiskLevel.SAFE] / (weights[RiskLevel.UNSAFE] * n_drawn[RiskLevel.UNSAFE])
        )
        assert ratio == pytest.approx(n_all[RiskLevel.SAFE] / n_all[RiskLevel.UNSAFE], rel=0.15)


def test_a_drawn_variant_leaves_rows_out_in_place_of_weights() -> None:
    """Safe at 0.8: all Safe rows, and a quarter as many Unsafe ones, each weighing 1."""
    weighing = Weighing("loose", {RiskLevel.SAFE: 0.8, RiskLevel.UNSAFE: 0.2}, is_drawn=True)
    learner, _, _ = crossed(toy_rows(3000), (weighing,))
    for panel in learner.panels.values():
        (variant,) = panel.variants
        seen = [x.level for x in panel.lessons if variant.sees(x)]
        assert set(variant.weights.values()) == {1.0}
        assert seen.count(RiskLevel.SAFE) == sum(x.level is RiskLevel.SAFE for x in panel.lessons)
        assert seen.count(RiskLevel.SAFE) / len(seen) == pytest.approx(0.8, abs=0.05)


def test_drawn_variants_are_nested() -> None:
    """Of the Unsafe rows that the looser draw leaves in, the stricter one leaves out none."""
    weighings = tuple(
        Weighing(f"{share}", {RiskLevel.SAFE: share, RiskLevel.UNSAFE: 1 - share}, is_drawn=True)
        for share in (0.8, 0.6, 0.2)
    )
    learner, _, _ = crossed(toy_rows(900), weighings)
    for panel in learner.panels.values():
        unsafe = [x for x in panel.lessons if x.level is RiskLevel.UNSAFE]
        loosest, loose, strict = ({x.row.id for x in unsafe if v.sees(x)} for v in panel.variants)
        assert loosest < loose < strict


def test_levels_that_one_half_hardly_has_teach_nothing() -> None:
    """It takes the least number in both halves."""
    rows = toy_rows(300)
    surveyed = survey(rows, "salt")
    everything = np.ones(300, np.bool_)
    only_one_half = everything & ((surveyed.half == 0) | (surveyed.level == 0))
    assert levels_of(surveyed, everything, 20) == BINARY
    assert levels_of(surveyed, only_one_half, 20) == (RiskLevel.SAFE,)

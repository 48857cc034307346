"""Confusion of categories and refusals, by hand."""

import pytest

from guardrail.evaluation.categories import CALLED_SAFE, by_category, category_figures, confusion, located, refusals
from tests.evaluation.judged_rows import judged, judgement, row

ROWS = [
    row("u", "a", categories=("PII",)),
    row("c", "b", categories=("PII", "Violent")),
    row("u", "c", categories=("Violent",)),
    row("u", "d", categories=("Violent",)),
    row("s", "e"),
    row("u", "f"),
]
SAID = [
    judgement("u", category="Violent"),
    judgement("c", category="Violent"),
    judgement("s"),
    judgement("u", category="Violent"),
    judgement("u", category="PII"),
    judgement("u", category="PII"),
]


def test_a_row_counts_once_under_the_category_that_was_named_if_it_has_it() -> None:
    """The first of several otherwise; what is not called harmful stands in the last column."""
    found = confusion(located(judged(ROWS, SAID)))
    assert found is not None
    assert (found.gold, found.named) == (("PII", "Violent"), ("Violent", CALLED_SAFE))
    assert found.counts == ((1, 0), (2, 1))


def test_a_judge_that_names_nothing_has_no_confusion() -> None:
    """Nor has one that calls nothing harmful."""
    rows = [row("u", "a", categories=("PII",))]
    assert confusion(judged(rows, [judgement("u")])) is None
    assert confusion(judged(rows, [judgement("s")])) is None


def test_recall_and_right_names_by_category() -> None:
    """A row of two categories stands under both."""
    groups = by_category(located(judged(ROWS, SAID)))
    found = {name: category_figures(group) for name, group in groups.items()}
    assert found["PII"].recall.value == 1.0
    assert found["PII"].named.value == 0.5
    assert found["Violent"].recall.value == pytest.approx(2 / 3)
    assert found["Violent"].named.value == 1.0
    assert found["Violent"].stopped.value == pytest.approx(1 / 3)


def test_refusals_are_measured_where_both_sides_say() -> None:
    """One found, one missed, one invented; two rows on which one side is silent."""
    labels, said = [True, True, False, None, True], [True, False, True, True, None]
    rows = [row("s", str(i), answer=True, refusal=one) for i, one in enumerate(labels)]
    found = refusals(judged(rows, [judgement("s", refusal=one) for one in said]))
    assert found is not None
    assert (found.precision.value, found.recall.value, found.f1.value, found.f1.n) == (0.5, 0.5, 0.5, 3)
    assert refusals(judged(rows[3:], [judgement("s")] * 2)) is None

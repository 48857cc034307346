"""A row with another label: the rest follows, and nothing is lost."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.taxonomy import RiskLevel
from guardrail.training.learners.changing import Changes, hand_on, with_level
from guardrail.training.learners.crossing import UNLABELLED
from guardrail.training.learners.learning import LEVELS
from tests.training.learners.toy import toy_row, toy_rows

UNSAFE = replace(toy_row(1, RiskLevel.UNSAFE), categories=("Violent", "Jailbreak"), unsafe_start_char=3)


@given(st.sampled_from(LEVELS), st.booleans())
def test_what_a_row_was_can_be_read_from_its_note(level: RiskLevel, has_onset: bool) -> None:
    """Label, categories and onset; id, family and text never change."""
    row = UNSAFE if has_onset else replace(UNSAFE, unsafe_start_char=None)
    new = with_level(row, level, "mined", {"loose": 0.4})
    was = new.meta["mined"]
    assert (new.risk, was["from"], was["loose"]) == (level, "unsafe", 0.4)
    assert (new.id, new.root, new.messages, new.meta["kind"]) == (row.id, row.root, row.messages, row.meta["kind"])
    assert tuple(was.get("categories", new.categories)) == row.categories
    assert was.get("unsafe_start_char", new.unsafe_start_char) == row.unsafe_start_char


def test_a_safe_row_has_neither_category_nor_onset() -> None:
    """What became Controversial keeps both."""
    safe = with_level(UNSAFE, RiskLevel.SAFE, "mined", {})
    assert (safe.categories, safe.unsafe_start_char) == ((), None)
    kept = with_level(UNSAFE, RiskLevel.CONTROVERSIAL, "mined", {})
    assert (kept.categories, kept.unsafe_start_char) == (UNSAFE.categories, 3)


def test_changes_are_counted_by_kind_and_group() -> None:
    """Also those that leave a risky row without a category; rows that may not change are in no group."""
    rows = [row for row in toy_rows(30) if row.meta["kind"] != "Controversial"]
    after = np.array([UNLABELLED] * 10 + [1] * 10, np.int8)
    changes = Changes()
    new = list(hand_on(rows, after, "mined", lambda place: {"place": place}, changes))
    assert new[:10] == rows[:10]
    assert [row.meta["mined"]["place"] for row in new[10:]] == list(range(10, 20))
    assert changes.counts == {
        "safe to controversial": 5, "unsafe to controversial": 5, "changed without a category": 5
    }  # fmt: skip
    assert changes.n_changed == 10
    tables = {table.columns[0]: {row[0]: row[1:] for row in table.rows} for table in changes.tables()}
    assert tables["language"] == {"en": (10, 10, 1.0)}
    assert tables["category before"] == {"none": (5, 5, 1.0), "Violent": (5, 5, 1.0)}


@pytest.mark.parametrize("n", [30, 31])
def test_a_long_table_shows_the_largest_groups_and_says_so(n: int) -> None:
    """Of many sources those with most rows."""
    rows = [replace(toy_row(i, RiskLevel.SAFE), source=f"s{i % n:02}") for i in range(100)]
    changes = Changes()
    list(hand_on(rows, np.zeros(100, np.int8), "mined", lambda _: {}, changes))
    table = next(changes.tables())
    assert len(table.rows) == 30
    assert table.rows[0][:2] == ("s00", 4)
    assert ("largest of 31" in table.note) == (n == 31)

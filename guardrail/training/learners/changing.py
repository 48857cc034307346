"""Rows with other labels: what else changes with them, what is noted, and how many there are of which kind."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardrail.audit.pages.figures import Table
from guardrail.taxonomy import RiskLevel
from guardrail.training.learners.crossing import UNLABELLED
from guardrail.training.learners.learning import LEVELS
from guardrail.training.recipe.rows import RecipeRow

MOST_GROUPS = 30
"""Lines of a table by source or language: those with most rows. Our choice."""


@dataclass(slots=True)
class Changes:
    """What was changed, counted while the rows are handed on.

    Attributes:
        counts: for the stage's rows.
        groups: (column, value) to the rows that might change, and those that did.
    """

    counts: Counter[str] = field(default_factory=Counter)
    groups: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    def add(self, old: RecipeRow, new: RecipeRow) -> None:
        """Count a row that might change."""
        is_changed = new.risk is not old.risk
        names = [("source", old.source), ("lang", old.lang)]
        names += [("category", name) for name in old.categories or ("none",)]
        for name in names:
            n_rows, n_changed = self.groups.get(name, (0, 0))
            self.groups[name] = n_rows + 1, n_changed + is_changed
        if is_changed and old.risk and new.risk:
            self.counts[f"{old.risk.value.lower()} to {new.risk.value.lower()}"] += 1
            self.counts["changed without a category"] += new.risk is not RiskLevel.SAFE and not new.categories

    @property
    def n_changed(self) -> int:
        """Rows with another label."""
        return sum(n for name, n in self.counts.items() if " to " in name)

    def tables(self) -> Iterator[Table]:
        """Yield a table by source, by language and by category before the change; the largest groups first."""
        for column, title in (("source", "source"), ("lang", "language"), ("category", "category before")):
            groups = [(value, *n) for (name, value), n in self.groups.items() if name == column]
            largest = sorted(groups, key=lambda group: (-group[1], group[0]))[:MOST_GROUPS]
            rows = [(value, n_rows, n_changed, round(n_changed / n_rows, 4)) for value, n_rows, n_changed in largest]
            note = f"the {MOST_GROUPS} largest of {len(groups)}" if len(groups) > MOST_GROUPS else ""
            yield Table(f"changed by {title}", (title, "rows", "changed", "share"), rows, note)


def hand_on(
    rows: Iterable[RecipeRow], after: NDArray[np.int8], name: str, note: Callable[[int], Mapping[str, Any]],
    changes: Changes,
) -> Iterator[RecipeRow]:  # fmt: skip
    """Yield all rows, those with another label changed, and count them.

    Args:
        rows: all rows.
        after: int8 [row], index of the level that each is to have, or `UNLABELLED` for rows that may not change.
        name: key of `meta` under which a changed row says what it was.
        note: from the place of a changed row to what else it says there.
        changes: takes the counts.
    """
    for place, (row, index) in enumerate(zip(rows, after, strict=True)):
        if index == UNLABELLED:
            yield row
            continue
        new = row if LEVELS[index] is row.risk else with_level(row, LEVELS[index], name, note(place))
        changes.add(row, new)
        yield new


def with_level(row: RecipeRow, level: RiskLevel, name: str, note: Mapping[str, Any]) -> RecipeRow:
    """Return a row with another risk level; `meta` says under `name` what it was before.

    A row that becomes Safe loses its categories and its onset, which the note keeps. One that was Safe gets none: this
    is counted, for `annotate` to say.
    """
    was: dict[str, Any] = {"from": row.risk.value.lower() if row.risk else None, **note}
    if level is not RiskLevel.SAFE:
        return replace(row, risk=level, meta={**row.meta, name: was})
    if row.categories:
        was["categories"] = list(row.categories)
    if row.unsafe_start_char is not None:
        was["unsafe_start_char"] = row.unsafe_start_char
    return replace(row, risk=level, categories=(), unsafe_start_char=None, meta={**row.meta, name: was})

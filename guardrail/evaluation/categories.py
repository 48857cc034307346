"""Kinds of harm and refusals: whether the right kind is named, and whether refusals are recognised."""

from dataclasses import dataclass

import numpy as np

from guardrail.evaluation.judged import Judged
from guardrail.evaluation.metrics import Estimate, Scores, scores, share
from guardrail.taxonomy import RiskLevel

CALLED_SAFE = "(called Safe)"
"""Column of the confusion for harmful rows that are not called harmful."""


@dataclass(frozen=True, slots=True)
class CategoryFigures:
    """What can be said about the harmful rows of one category.

    Attributes:
        recall: share that is called harmful, read strictly.
        stopped: share that is stopped at the policy.
        named: share whose named category is one of the row's, among those called harmful by a judge that names one.
    """

    recall: Estimate
    stopped: Estimate
    named: Estimate


@dataclass(frozen=True, slots=True)
class Confusion:
    """Harmful rows by their category and by the one that was named.

    A row counts once: under the category that was named if the row has it, else under the row's first.

    Attributes:
        gold: categories of the rows, downwards.
        named: categories that were named, across; the last is `CALLED_SAFE`.
        counts: rows, one line for each of `gold`.
    """

    gold: tuple[str, ...]
    named: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def located(judged: Judged) -> Judged:
    """Return the harmful rows that have a category."""
    has_one = [bool(row.categories) and row.risk is not RiskLevel.SAFE for row in judged.rows]
    return judged.at(np.flatnonzero(has_one))


def category_figures(judged: Judged) -> CategoryFigures:
    """Return the figures of harmful rows that have a category."""
    is_named = judged.calls_harmful & judged.having(lambda one: one.category is not None)
    pairs = zip(judged.rows, judged.judgements, strict=True)
    is_right = np.array([one.category in row.categories for row, one in pairs], np.bool_)
    return CategoryFigures(
        recall=share(judged.calls_harmful, judged.clusters),
        stopped=share(judged.is_stopped, judged.clusters),
        named=share(is_right[is_named], judged.clusters[is_named]),
    )


def by_category(judged: Judged) -> dict[str, Judged]:
    """Return harmful rows by category, names in order; a row of several stands under each."""
    names = sorted({name for row in judged.rows for name in row.categories})
    return {name: judged.at([i for i, row in enumerate(judged.rows) if name in row.categories]) for name in names}


def confusion(judged: Judged) -> Confusion | None:
    """Return which categories are taken for which, over harmful rows that have one; None if the judge names none."""
    cells: dict[tuple[str, str], int] = {}
    for row, one, harmful in zip(judged.rows, judged.judgements, judged.calls_harmful, strict=True):
        if harmful and one.category is None:
            continue
        named = one.category if harmful and one.category is not None else CALLED_SAFE
        cell = (named if named in row.categories else row.categories[0], named)
        cells[cell] = cells.get(cell, 0) + 1
    named_ones = sorted({named for _, named in cells} - {CALLED_SAFE})
    if not named_ones:
        return None
    gold, across = tuple(sorted({one for one, _ in cells})), (*named_ones, CALLED_SAFE)
    return Confusion(gold, across, tuple(tuple(cells.get((row, name), 0) for name in across) for row in gold))


def refusals(judged: Judged) -> Scores | None:
    """Return how well refusals are found, over rows whose label and whose judge say whether the answer refuses; None
    without such rows.
    """
    told = [
        i
        for i, (row, one) in enumerate(zip(judged.rows, judged.judgements, strict=True))
        if row.refusal is not None and one.refusal is not None
    ]
    if not told:
        return None
    chosen = judged.at(told)
    gold = np.array([row.refusal for row in chosen.rows], np.bool_)
    return scores(gold, chosen.having(lambda one: bool(one.refusal)), chosen.clusters)

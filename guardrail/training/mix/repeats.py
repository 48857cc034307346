"""Duplicates: of rows that say the same, or nearly the same, about the same, one is kept."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from guardrail.training.mix.survey import RISKS, Survey, context_of
from guardrail.training.recipe.duplicate_groups import group_duplicates
from guardrail.training.recipe.parts import told
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.stage import Rows

EQUAL, NEAR = "duplicate: equal", "duplicate: near"

_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)
"""Odd numbers that keep the two hashes of a row apart when they are made one."""


def drop_repeats(
    survey: Survey, rows: Rows, threshold: float, folder: Path, tell: Callable[[int], None]
) -> NDArray[np.int64]:
    """Leave out all but one of each group of duplicates; return how their labels met.

    Two rows are duplicates when both what is judged and what stands before it are equal, or nearly: a refusal is none
    of the same refusal of something else, nor of another answer to the same long prompt. Kept is a person's label
    first, then a row with a known onset, then the graver label (as ties of annotators are decided), then the earlier
    row. The two sides of a pair, which are alike on purpose, are both kept, also where a third row is near them; only
    of what is equal one stays, and stands for the others.

    Args:
        survey: of the rows.
        rows: are read once.
        threshold: ROUGE-L from which on two texts are near duplicates; 1: only equal ones are.
        folder: for a file that is there while this runs.
        tell: is told how many more rows were read.

    Returns:
        int64 [risk of the kept row, risk of the one left out], numbered as `RISKS`.
    """
    met = np.zeros((len(RISKS), len(RISKS)), np.int64)
    columns, kept = survey.columns, np.flatnonzero(survey.kept)
    keys = (columns["judged"][kept] * _FACTORS[0]) ^ (columns["context"][kept] * _FACTORS[1])
    keys = _with_target(survey, kept, keys)
    stands_for = np.arange(len(survey))
    stands_for[kept] = kept[_best(survey, kept, keys)]
    _leave_out(survey, kept, stands_for[kept] != kept, stands_for[kept], EQUAL, met)
    if threshold < 1:
        kept = np.flatnonzero(survey.kept)
        groups = _near_groups(survey, kept, told(rows, tell), threshold, folder).astype(np.uint64)
        keys = (groups[:, 0] << np.uint64(32)) | groups[:, 1]
        keys = _with_target(survey, kept, keys)
        best = _best(survey, kept, keys)
        is_spare = (best != np.arange(len(kept))) & ~_is_side(survey, kept, keys, best, stands_for)
        _leave_out(survey, kept, is_spare, kept[best], NEAR, met)
    return met


def _with_target(survey: Survey, places: NDArray[np.intp], keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return keys in whose lowest bit stands what is judged: uint64 [place]."""
    targets = survey.columns["target"][places].astype(np.uint64)
    return np.add(np.left_shift(keys, np.uint64(1)), targets, dtype=np.uint64)


def _best(survey: Survey, places: NDArray[np.intp], keys: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Return which row of those with the same key is to be preferred, by its number among these: intp [place]."""
    rows = survey.columns[places]
    order = np.lexsort((places, -rows["risk"], ~rows["has_onset"], ~rows["is_human"]))
    _, first, groups = np.unique(keys[order], return_index=True, return_inverse=True)
    best = np.empty(len(places), np.intp)
    best[order] = order[first][groups]
    return best


def _is_side(
    survey: Survey,
    places: NDArray[np.intp],
    keys: NDArray[np.uint64],
    best: NDArray[np.intp],
    stands_for: NDArray[np.intp],
) -> NDArray[np.bool_]:
    """Return which rows are sides of a pair that both have one key: bool [place].

    They are when the other side is the best row, or when it is in the group and one of the two has another label than
    the best row. A side that was left out is there in the row that stands for it: `stands_for`, intp [row].
    """
    rows, number = survey.columns[places], np.full(len(survey), -1)
    number[places] = np.arange(len(places))
    order = np.argsort(survey.columns["id"], kind="stable")
    ids = survey.columns["id"][order]
    found = np.minimum(np.searchsorted(ids, rows["pair"]), max(len(ids) - 1, 0))
    partner = np.where(ids[found] == rows["pair"], number[stands_for[order[found]]], -1)
    is_other = rows["risk"] != rows["risk"][best]
    is_contrast = (partner >= 0) & (keys[partner] == keys) & (is_other | is_other[partner])
    is_side: NDArray[np.bool_] = (rows["pair"] == rows["id"][best]) | (rows["pair"][best] == rows["id"]) | is_contrast
    return is_side


def _leave_out(
    survey: Survey,
    places: NDArray[np.intp],
    is_spare: NDArray[np.bool_],
    best: NDArray[np.intp],
    reason: str,
    met: NDArray[np.int64],
) -> None:
    """Leave out what is to spare, and count how its labels meet those of the best rows."""
    risks = survey.columns["risk"]
    np.add.at(met, (risks[best[is_spare]], risks[places[is_spare]]), 1)
    survey.drop(places[is_spare], reason)


def _near_groups(
    survey: Survey, kept: NDArray[np.intp], rows: Iterable[RecipeRow], threshold: float, folder: Path
) -> NDArray[np.int32]:
    """Return the groups of each row's two texts, what is judged and what stands before it: int32 [row, text].

    Equal texts are compared once: many answers follow one question.
    """
    hashes = np.stack((survey.columns["judged"][kept], survey.columns["context"][kept]), axis=1).ravel()
    _, first, numbers = np.unique(hashes, return_index=True, return_inverse=True)
    is_first = np.zeros(len(hashes), np.bool_)
    is_first[first] = True
    groups = group_duplicates(_texts(rows, survey.kept, is_first.reshape(-1, 2)), threshold, folder)
    as_read = np.empty(len(first), np.intp)
    as_read[np.argsort(first)] = np.arange(len(first))
    return groups[as_read[numbers]].reshape(-1, 2)


def _texts(rows: Iterable[RecipeRow], kept: NDArray[np.bool_], is_first: NDArray[np.bool_]) -> Iterator[str]:
    """Yield the texts of rows that are kept, where they are met for the first time."""
    wanted = iter(is_first)
    for row, is_kept in zip(rows, kept, strict=True):
        if is_kept:
            judged, context = next(wanted)
            if judged:
                yield row.judged_text
            if context:
                yield context_of(row)

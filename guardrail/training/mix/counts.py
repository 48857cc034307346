"""What is in the mix, counted: for the report and for the data card alike."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardrail.training.mix.splits import SPLITS
from guardrail.training.mix.survey import RISKS, Survey

SHOWN_RISKS = ("safe", "controversial", "unsafe", "none")


@dataclass(frozen=True, slots=True)
class MixCounts:
    """Rows of the mix.

    Attributes:
        n_rows: of the mix.
        n_families: that they belong to.
        by_split: rows by split.
        by_risk: by dimension and the name of its value, the rows of each of `SHOWN_RISKS`; larger values first.
        by_split_of: by dimension and value, the rows of each split.
        n_human: rows whose label a person gave.
        n_onsets: rows with a known onset.
    """

    n_rows: int
    n_families: int
    by_split: dict[str, int]
    by_risk: dict[str, dict[str, list[int]]]
    by_split_of: dict[str, dict[str, list[int]]]
    n_human: int
    n_onsets: int


def count_mix(survey: Survey, splits: NDArray[np.int8], n_families: int) -> MixCounts:
    """Return the counts of the rows that are kept."""
    kept = survey.kept
    rows, numbers = survey.columns[kept], splits[kept].astype(np.intp)
    risks = np.array([SHOWN_RISKS.index(name) for name in RISKS])[rows["risk"]]
    sizes = np.bincount(numbers, minlength=len(SPLITS))
    return MixCounts(
        len(rows), n_families, dict(zip(SPLITS, map(int, sizes), strict=True)),
        {name: _crossed(rows[name], names, risks, len(SHOWN_RISKS)) for name, names in survey.names.items()},
        {name: _crossed(rows[name], names, numbers, len(SPLITS)) for name, names in survey.names.items()},
        int(rows["is_human"].sum()), int(rows["has_onset"].sum()),
    )  # fmt: skip


def _crossed(
    codes: NDArray[np.integer], names: list[str], others: NDArray[np.intp], n_others: int
) -> dict[str, list[int]]:
    """Return, for each name that has rows, how many of them have each of the other numbers."""
    counts = np.bincount(codes.astype(np.intp) * n_others + others, minlength=len(names) * n_others)
    table = counts.reshape(-1, n_others)
    order = sorted(range(len(names)), key=lambda i: (-int(table[i].sum()), names[i]))
    return {names[i]: list(map(int, table[i])) for i in order if table[i].any()}

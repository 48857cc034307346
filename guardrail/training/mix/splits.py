"""Splits: a family falls into one of them, whole, whatever else is in the mix."""

import numpy as np
from numpy.typing import NDArray

from guardrail.training.mix.survey import Survey
from guardrail.training.recipe.families import families_of

SPLITS = ("train", "validation", "test")


def split_rows(survey: Survey, validation: float, test: float) -> tuple[NDArray[np.int8], int]:
    """Return the number of each row's split, int8 [row], -1 where a row is left out; and how many families there are.

    A family is all rows of a root, and all roots that share a user's first turn: a question that came in with several
    answers under several ids is one family. It falls where the root with the smallest hash falls.
    """
    places = np.flatnonzero(survey.kept)
    splits = np.full(len(survey), -1, np.int8)
    if not len(places):
        return splits, 0
    rows = survey.columns[places]
    families = families_of(rows["root"], rows["turn"])
    _, first = np.unique(rows["root"], return_index=True)
    where = rows["split_place"][first][families]
    splits[places] = np.where(where < test, 2, np.where(where < test + validation, 1, 0))
    return splits, len(np.unique(families))

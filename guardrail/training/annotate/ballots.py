"""The votes of all rows as small arrays: a byte a vote, so that a million rows weigh a few megabytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardrail.decision import Direction
from guardrail.taxonomy import RiskLevel
from guardrail.training.annotate.voting import votes_of
from guardrail.training.recipe.rows import RecipeRow, half_of
from guardrail.training.recipe.stage import Rows

LEVELS = (RiskLevel.SAFE, RiskLevel.CONTROVERSIAL, RiskLevel.UNSAFE)
"""Order of the risk axis of all arrays here: that of `RiskLevel.rank`, so the larger index is the more severe."""

NONE = -1
"""Stands for no vote, no label."""

SALT = "annotate: people's labels"
"""Of the halves: on one the votes are weighed, on the other one they are measured."""

Votes = NDArray[np.int8]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ballots:
    """All rows, in order.

    Attributes:
        names: of the annotators, sorted: the columns of `votes`.
        votes: int8 [row, annotator], index into `LEVELS` or `NONE`.
        is_voted: bool [row], whether the panel was asked.
        is_human: bool [row], whether people's label must stay.
        people: int8 [row], their label, of rows that were voted on; else `NONE`.
        half: int8 [row], 0: labels to learn from, 1: labels to measure with.
        is_response: bool [row].
        families: int32 [row], alike where rows go back to the same root; 0 for rows without people's label.
    """

    names: tuple[str, ...]
    votes: Votes
    is_voted: Bools
    is_human: Bools
    people: NDArray[np.int8]
    half: NDArray[np.int8]
    is_response: Bools
    families: NDArray[np.int32]

    @property
    def known(self) -> Bools:
        """bool [row]: people labelled it, and it was voted on."""
        return np.asarray(self.people != NONE)

    @property
    def n_votes(self) -> NDArray[np.int8]:
        """int8 [row]: votes that count."""
        return np.asarray((self.votes != NONE).sum(axis=1), np.int8)


def read_ballots(rows: Rows, names: Sequence[str], is_voted: Callable[[RecipeRow], bool]) -> Ballots:
    """Return the votes of rows that came out of `Voting`.

    Args:
        rows: all of them.
        names: of the annotators.
        is_voted: which rows were voted on.
    """
    n = len(rows)
    found = Ballots(
        tuple(sorted(names)), np.full((n, len(names)), NONE, np.int8), np.zeros(n, np.bool_), np.zeros(n, np.bool_),
        np.full(n, NONE, np.int8), np.zeros(n, np.int8), np.zeros(n, np.bool_), np.zeros(n, np.int32),
    )  # fmt: skip
    families: dict[str, int] = {}
    for i, row in enumerate(rows):
        found.is_response[i], found.is_human[i] = row.target is Direction.RESPONSE, row.is_human
        if not is_voted(row):
            continue
        found.is_voted[i] = True
        found.votes[i] = [vote_index(vote["risk"]) if vote else NONE for vote in votes_of(row, found.names)]
        if row.is_human and row.risk is not None:
            found.people[i], found.half[i] = row.risk.rank, half_of(row.root, SALT)
            found.families[i] = families.setdefault(row.root, len(families))
    return found


def vote_index(risk: str) -> int:
    """Return the place of a level in `LEVELS`."""
    return RiskLevel(risk).rank

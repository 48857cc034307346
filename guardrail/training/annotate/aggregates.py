"""From votes to a share for each risk level: several ways, one form.

Each way is learned once and then is a sum: every vote adds the scores of its annotator, whatever the others said.

- majority: a vote counts 1.
- weighted: a vote counts the log odds of its annotator's accuracy on people's labels, over guessing among the levels.
- calibrated: confusions from people's labels, put together as if annotators erred independently (naive Bayes).
- dawid_skene: the same, with confusions that are found from the votes alone; see `dawid_skene.py`.
- stacked: a regression on people's labels, which knows that annotators err together; see `stacking.py`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardrail.training.annotate.ballots import LEVELS, NONE, Votes

N_LEVELS = len(LEVELS)

Floats = NDArray[np.float64]

_ROWS = 100_000
"""Rows that are summed at once, so that a million take little memory."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A learned way to put votes together.

    Attributes:
        prior: float64 [risk], score of a level before any vote; minus infinity for one that is never given.
        scores: float64 [annotator, vote, risk], what a vote adds to the score of each level.
        is_logarithmic: whether scores are logarithms of probabilities, or weights.
    """

    prior: Floats
    scores: Floats
    is_logarithmic: bool

    def shares(self, votes: Votes) -> NDArray[np.float32]:
        """Return float32 [row, risk] in [0, 1], rows summing to 1: probabilities, or shares of the weights.

        A row without votes has the prior's probabilities, or the same share for all levels.
        """
        found = np.empty((len(votes), N_LEVELS), np.float32)
        for start in range(0, len(votes), _ROWS):
            found[start : start + _ROWS] = self._shares(votes[start : start + _ROWS])
        return found

    def _shares(self, votes: Votes) -> Floats:
        total = np.tile(self.prior, (len(votes), 1))
        for annotator in range(votes.shape[1]):
            cast = np.flatnonzero(votes[:, annotator] != NONE)
            total[cast] += self.scores[annotator, votes[cast, annotator]]
        if self.is_logarithmic:
            total = np.exp(total - total.max(axis=1, keepdims=True))
        whole = total.sum(axis=1, keepdims=True)
        return np.asarray(np.where(whole > 0, total / np.where(whole > 0, whole, 1), 1 / N_LEVELS), np.float64)


def majority(n_annotators: int) -> Aggregate:
    """Return the plain vote."""
    return Aggregate(np.zeros(N_LEVELS), np.tile(np.eye(N_LEVELS), (n_annotators, 1, 1)), is_logarithmic=False)


def weighted(votes: Votes, people: NDArray[np.int8], smoothing: float) -> Aggregate:
    """Return a vote in which the more accurate annotators count more; one that is no better than guessing counts 0.

    Args:
        votes: int8 [row, annotator], of rows that people labelled.
        people: int8 [row], their labels.
        smoothing: right and wrong votes that are added to each annotator's.
    """
    n_levels = max(2, len(np.unique(people)))
    cast = votes != NONE
    right = ((votes == people[:, None]) & cast).sum(axis=0) + smoothing
    wrong = cast.sum(axis=0) + 2 * smoothing - right
    weights = np.maximum(0, np.log(right * (n_levels - 1) / wrong))
    return Aggregate(np.zeros(N_LEVELS), weights[:, None, None] * np.eye(N_LEVELS), is_logarithmic=False)


def calibrated(votes: Votes, people: NDArray[np.int8], smoothing: float) -> Aggregate:
    """Return what people's labels say of each annotator's votes. A level that people never gave is never given.

    Args:
        votes: int8 [row, annotator], of rows that people labelled.
        people: int8 [row], their labels.
        smoothing: votes that are added to each cell of a confusion.
    """
    counts = np.array([[np.sum(people == level)] for level in range(N_LEVELS)], np.float64)[:, 0]
    given = np.stack([confusion(people, column) for column in votes.T]) + smoothing  # [annotator, people, vote]
    likely = given / given.sum(axis=2, keepdims=True)
    return bayes(counts / counts.sum(), likely)


def bayes(prior: Floats, confusions: Floats) -> Aggregate:
    """Return annotators' confusions as scores of votes.

    Args:
        prior: float64 [risk], probability of each level; 0 for one that is never given.
        confusions: float64 [annotator, risk, vote], probability of a vote where the level is the true one.
    """
    with np.errstate(divide="ignore"):  # a level that is never given has minus infinity
        return Aggregate(np.log(prior), np.log(confusions).transpose(0, 2, 1), is_logarithmic=True)


def confusion(people: NDArray[np.int8], called: NDArray[np.int8]) -> Floats:
    """Return float64 [people, called]: how often each level was called each level; rows with `NONE` do not count."""
    both = (people != NONE) & (called != NONE)
    cells = people[both].astype(np.intp) * N_LEVELS + called[both]
    return np.bincount(cells, minlength=N_LEVELS**2).reshape(N_LEVELS, N_LEVELS).astype(np.float64)

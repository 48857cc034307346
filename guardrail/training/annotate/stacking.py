"""Scores of votes by logistic regression on people's labels: the one way that knows that annotators err together.

Where three annotators are near copies of each other, naive Bayes hears them three times; a regression shares one weight
among them. It needs more of people's labels for it.
"""

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import MissingExtra
from guardrail.training.annotate.aggregates import N_LEVELS, Aggregate
from guardrail.training.annotate.ballots import NONE, Votes

try:
    from sklearn.linear_model import LogisticRegression
except ModuleNotFoundError as error:
    raise MissingExtra("scikit-learn", "train") from error

_INVERSE_PENALTY = 0.3
"""Of the L2 penalty. Ours."""


def stacked(votes: Votes, people: NDArray[np.int8]) -> Aggregate:
    """Return what a regression says of each annotator's votes. A level that people never gave is never given.

    Args:
        votes: int8 [row, annotator], of rows that people labelled.
        people: int8 [row], their labels.
    """
    present = np.unique(people)
    prior, scores = np.full(N_LEVELS, -np.inf), np.zeros((votes.shape[1], N_LEVELS, N_LEVELS))
    prior[present] = 0
    if len(present) > 1:
        cast = (votes[:, :, None] == np.arange(N_LEVELS)) & (votes[:, :, None] != NONE)
        model = LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000).fit(cast.reshape(len(votes), -1), people)
        weights, bias = model.coef_, model.intercept_
        if len(present) == 2:  # scikit-learn keeps one row, the log odds of the second
            weights, bias = np.vstack([0 * weights, weights]), np.array([0.0, bias[0]])
        prior[present] = bias
        scores[:, :, present] = weights.reshape(len(present), votes.shape[1], N_LEVELS).transpose(1, 2, 0)
    return Aggregate(prior, scores, is_logarithmic=True)

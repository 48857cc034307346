"""Annotators' confusions from their votes alone, by Dawid and Skene's expectation maximisation in crowd-kit.

It takes annotators to err independently: models of one family do not, and then it trusts those that agree with each
other. Its tables are too large for a million rows, so it learns from some and the confusions are applied to all.
"""

import warnings

import numpy as np

from guardrail.errors import MissingExtra
from guardrail.training.annotate.aggregates import N_LEVELS, Aggregate, bayes
from guardrail.training.annotate.ballots import NONE, Votes

try:
    import pandas as pd  # type: ignore[import-untyped]  # ships no types; comes with crowd-kit
    from crowdkit.aggregation.classification.dawid_skene import DawidSkene
except ModuleNotFoundError as error:
    raise MissingExtra("crowd-kit", "train") from error

_LEAST = 1e-10
"""Least probability of a vote; crowd-kit's own."""


def dawid_skene(votes: Votes) -> Aggregate:
    """Return the confusions that explain the votes best, begun from the plain vote.

    A level that nobody voted for is never given; without any votes all levels are alike.

    Args:
        votes: int8 [row, annotator], of the rows to learn from.
    """
    tasks, workers = np.nonzero(votes != NONE)
    data = pd.DataFrame({"task": tasks, "worker": workers, "label": votes[tasks, workers].astype(np.int64)})
    model = DawidSkene()
    with warnings.catch_warnings():  # crowd-kit 1.4 calls pandas in ways that pandas 3 warns of
        warnings.simplefilter("ignore", DeprecationWarning)
        model.fit(data)
    prior, confusions = np.zeros(N_LEVELS), np.full((votes.shape[1], N_LEVELS, N_LEVELS), _LEAST)
    for level, share in (model.priors_ if model.priors_ is not None else pd.Series()).items():
        prior[int(level)] = share
    if model.errors_ is not None:
        for (worker, vote), row in model.errors_.iterrows():
            confusions[worker, [int(level) for level in row.index], vote] = row.to_numpy()
    return bayes(prior if prior.any() else np.full(N_LEVELS, 1 / N_LEVELS), np.maximum(confusions, _LEAST))

"""How far annotators agree with each other beyond chance: Cohen's kappa of two, Krippendorff's alpha of all."""

from itertools import combinations

import numpy as np

from guardrail.training.annotate.aggregates import N_LEVELS, Floats, confusion
from guardrail.training.annotate.ballots import NONE, Votes


def kappas(votes: Votes) -> Floats:
    """Return float64 [annotator, annotator]: Cohen's kappa on the rows that both voted on, at most 1, 0 as by chance.

    NaN where it is not defined: no common rows, or both always say the same level.
    """
    n = votes.shape[1]
    found = np.eye(n)
    for a, b in combinations(range(n), 2):
        table = confusion(votes[:, a], votes[:, b])
        total = table.sum()
        by_chance = table.sum(1) @ table.sum(0) / total**2 if total else 1.0
        value = (np.trace(table) / total - by_chance) / (1 - by_chance) if by_chance < 1 else np.nan
        found[a, b] = found[b, a] = value
    return found


def alpha(votes: Votes) -> float | None:
    """Return Krippendorff's alpha for names of levels: 1 is full agreement, 0 as by chance; votes may be missing.

    None where it is not defined: no row has two votes, or only one level occurs.
    """
    counts = np.stack([(votes == level).sum(axis=1) for level in range(N_LEVELS)], axis=1).astype(np.float64)
    counts = counts[(votes != NONE).sum(axis=1) > 1]
    if not len(counts):
        return None
    others = counts.sum(axis=1, keepdims=True) - 1
    pairs = (counts / others).T @ counts - np.diag((counts / others).sum(axis=0))
    total, by_level = pairs.sum(), pairs.sum(axis=0)
    expected = total**2 - (by_level**2).sum()
    observed = total - np.trace(pairs)
    return float(1 - observed * (total - 1) / expected) if expected > 0 else None

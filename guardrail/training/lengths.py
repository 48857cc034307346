"""Rows of like length in one batch, and ids that are too many."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def by_length(lengths: ArrayLike, budget: int, jitter: NDArray[np.float64] | None = None) -> list[list[int]]:
    """Group rows of like length into batches of at most `budget` padded tokens, or of one row; return their places.

    Args:
        lengths: int64 [row], in tokens.
        budget: tokens of a batch, padding included.
        jitter: [row], factors by which lengths are multiplied for the order alone, so that epochs mix rows differently.
    """
    known = np.asarray(lengths, np.int64)
    order = np.argsort(known * (1.0 if jitter is None else jitter), kind="stable")
    batches: list[list[int]] = [[]]
    longest = 0
    for i, length in zip(order.tolist(), known[order].tolist(), strict=True):
        longest = max(longest, length)
        if batches[-1] and longest * (len(batches[-1]) + 1) > budget:
            batches.append([])
            longest = length
        batches[-1].append(i)
    return [batch for batch in batches if batch]


def cut_middle(ids: Sequence[int], most: int, n_head: int) -> list[int]:
    """Return ids of which the first `n_head` and the last stay, `most` in all, if there are more."""
    return list(ids) if len(ids) <= most else [*ids[:n_head], *ids[len(ids) - (most - n_head) :]]

"""Batches of rows of like length, and ids that are too many."""

import numpy as np
import pytest
from numpy.typing import NDArray

from guardrail.training.lengths import by_length, cut_middle


def test_a_long_text_keeps_its_ends() -> None:
    """Two thirds from the opening, one from the end."""
    assert cut_middle(list(range(20)), 9, 6) == [0, 1, 2, 3, 4, 5, 17, 18, 19]
    assert cut_middle([1, 2], 2, 1) == [1, 2]


@pytest.mark.parametrize("jitter", [None, np.array([3.0, 0.5, 1.0, 9.0, 1.0, 1.0, 0.1])])
def test_batches_hold_every_row_once_within_the_budget(jitter: NDArray[np.float64] | None) -> None:
    """Rows of like length share a batch; one that is longer than the budget is a batch of its own. Jitter changes the
    order, and no length.
    """
    lengths = [3, 50, 7, 7, 2, 1, 9]
    batches = by_length(lengths, 20, jitter)
    assert sorted(place for batch in batches for place in batch) == list(range(7))
    assert all(len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 20 for batch in batches)

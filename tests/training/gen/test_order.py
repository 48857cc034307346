"""Orders follow from seed and epoch alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from guardrail.training.gen.order import EpochOrder

lengths = st.lists(st.integers(1, 900), min_size=1, max_size=200)


@given(lengths=lengths, group=st.integers(1, 9), epoch=st.integers(0, 5))
def test_every_epoch_has_every_row_once(lengths: list[int], group: int, epoch: int) -> None:
    """Grouped or not; and again the same, whatever was drawn elsewhere in between."""
    order = EpochOrder(lengths, group, seed=1)
    order.set_epoch(epoch)
    found = list(order)
    assert sorted(found) == list(range(len(lengths)))
    assert len(order) == len(lengths)
    other = EpochOrder(lengths, group, seed=1)
    list(other)
    other.set_epoch(epoch)
    assert list(other) == found


def test_epochs_and_seeds_differ() -> None:
    """Else a run would meet the same batches again and again."""
    order, other = EpochOrder([5] * 50, 4, seed=1), EpochOrder([5] * 50, 4, seed=2)
    first = list(order)
    order.set_epoch(1)
    assert len({tuple(one) for one in (first, list(order), list(other))}) == 3


def test_rows_of_like_length_share_a_batch() -> None:
    """Padding shrinks, and batches still come in any order of lengths."""
    lengths = np.random.default_rng(3).integers(10, 1000, 400)

    def padded(group: int) -> int:
        batches = np.asarray(list(EpochOrder(lengths.tolist(), group, seed=1))).reshape(-1, 8)
        return int(sum(lengths[batch].max() * 8 for batch in batches))

    assert padded(8) < 1.1 * lengths.sum() < padded(1)
    firsts = [lengths[i] for i in list(EpochOrder(lengths.tolist(), 8, seed=1))[::8]]
    assert firsts != sorted(firsts)

"""The order in which rows are met: a function of the seed and the epoch, so that a resumed run meets the same rows."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

POOL = 50
"""Batches whose rows are sorted by length together: fewer mix lengths more, more sort better. That of transformers."""


class EpochOrder(Sampler[int]):
    """Shuffles rows anew each epoch, and lets rows of like length share a batch if asked to.

    Transformers' own sampler of this kind draws from the process's random numbers: resumed within an epoch, it would
    give another order.

    Attributes:
        epoch: whose order comes next.
    """

    def __init__(self, lengths: Sequence[int], group: int, seed: int) -> None:
        """Start at epoch 0.

        Args:
            lengths: tokens of each row.
            group: rows that should be of like length; 1 leaves the order random.
            seed: of all orders.
        """
        self._lengths, self._group, self._seed = np.asarray(lengths), group, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; accelerate calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self._seed, self.epoch])
        order = rng.permutation(len(self._lengths))
        if self._group == 1:
            return iter(order.tolist())
        size = POOL * self._group
        pools = [order[i : i + size] for i in range(0, len(order), size)]
        ordered = np.concatenate([pool[np.argsort(self._lengths[pool], kind="stable")] for pool in pools])
        n_whole = len(ordered) // self._group * self._group
        groups = ordered[:n_whole].reshape(-1, self._group)
        return iter([*rng.permutation(groups).ravel().tolist(), *ordered[n_whole:].tolist()])

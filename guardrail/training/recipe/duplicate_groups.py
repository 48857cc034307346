"""Groups of near duplicates among more texts than fit into memory."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from guardrail.training.recipe.duplicates import Banding, MinHash, banding_for, fingerprint, likeness

_MOST_LEADERS = 64
"""Unlike texts of one bucket that a further one is compared with, the latest ones. Our choice: it bounds the work on
buckets that a common phrase fills."""


def group_duplicates(
    texts: Iterable[str], threshold: float, folder: Path, banding: Banding | None = None
) -> NDArray[np.int32]:
    """Return the group of each text, named by its first member's place: int32 [text].

    Texts are grouped through chains of near duplicates, so two of different groups are none, as far as the candidates
    show. Holds about 0.2 kB a text; the rest stands in a file without a name while it runs.

    Args:
        texts: in order; read once.
        threshold: ROUGE-L from which on two texts are near duplicates, in (0, 1].
        folder: for the file; it takes four bytes a token.
        banding: how candidates are found; none takes the threshold's.
    """
    minhash = MinHash(banding or banding_for(threshold))
    with tempfile.TemporaryFile(dir=folder) as file:
        ends, keys = [0], []
        for text in texts:
            print_ = fingerprint(text)
            ends.append(ends[-1] + file.write(print_.encode("utf-32-le")))
            keys.append(minhash.keys(print_))
        file.flush()
        groups = _Groups(file.fileno(), np.array(ends, np.int64), threshold)
        for band in np.stack(keys, axis=1) if keys else ():
            for bucket in _runs(band):
                groups.join(bucket)
    return groups.leaders()


def _runs(band: NDArray[np.uint32]) -> Iterator[Sequence[int]]:
    """Yield the places of texts that share a bucket, in order, for buckets of two and more."""
    order = np.argsort(band, kind="stable")
    edges = np.flatnonzero(np.diff(band[order], prepend=band[order[0]] + np.uint32(1)))
    ends = np.append(edges[1:], len(order))
    for i in np.flatnonzero(ends - edges > 1):
        yield order[edges[i] : ends[i]].tolist()


class _Groups:
    """Which texts hang together so far."""

    def __init__(self, file: int, ends: NDArray[np.int64], threshold: float) -> None:
        self._file, self._ends, self._threshold = file, ends, threshold
        self._parents = np.arange(len(ends) - 1, dtype=np.int32)

    def join(self, bucket: Sequence[int]) -> None:
        """Compare the texts of a bucket, in order, each with the earlier ones that were like none before them."""
        leaders: list[tuple[int, str]] = []
        for place in bucket:
            root = self._root(place)
            if any(self._root(leader) == root for leader, _ in leaders):
                continue
            print_ = self._print(place)
            like = [leader for leader, other in leaders if likeness(print_, other) >= self._threshold]
            for leader in like:
                ends = self._root(leader), self._root(place)
                self._parents[max(ends)] = min(ends)
            if not like:
                leaders = [*leaders[1 - _MOST_LEADERS :], (place, print_)]

    def leaders(self) -> NDArray[np.int32]:
        """Return the first member of each text's group."""
        while (further := self._parents[self._parents] != self._parents).any():
            self._parents[further] = self._parents[self._parents[further]]
        return self._parents

    def _root(self, place: int) -> int:
        while (parent := int(self._parents[place])) != place:
            self._parents[place] = self._parents[parent]
            place = parent
        return place

    def _print(self, place: int) -> str:
        start, end = int(self._ends[place]), int(self._ends[place + 1])
        return os.pread(self._file, end - start, start).decode("utf-32-le")

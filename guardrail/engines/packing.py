"""Ragged batches as the graph wants them: the new tokens of several sessions, packed into one run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardrail.engines.base import FloatArray, Logits

RUN_TOKENS = 512
"""Most tokens of one run, unless more sessions feed: longer feeds are cut, so that activations stay small. Ours."""

MAX_PADDING = 1024
"""Most places in a run's rows where no token stands. The attention alone sees them: such a place costs a hundredth of a
token (0.6B shape), a run of its own about eight tokens."""


@dataclass(slots=True)
class Reading:
    """One feed on its way through the model.

    Attributes:
        slot: of its session in the pool.
        length: tokens that the session holds.
        ids: int64 [token], all of the feed.
        logits: of the feed, filled as it is read.
        n_read: tokens read.
    """

    slot: int
    length: int
    ids: NDArray[np.int64]
    logits: Logits
    n_read: int = 0

    def take_in(self, outputs: dict[str, FloatArray], at: int, n: int) -> None:
        """Keep the logits of the next `n` tokens, which stand in a run's outputs from `at` on."""
        for name, output in outputs.items():
            getattr(self.logits, name)[self.n_read : self.n_read + n] = output[at : at + n]
        self.n_read += n
        self.length += n


@dataclass(frozen=True, slots=True)
class Part:
    """What one run takes of a reading: its next `size` tokens."""

    reading: Reading
    size: int


def next_run(readings: Sequence[Reading]) -> list[Part]:
    """Return the next run: an equal share of every reading that is not at its end.

    Where their slots lie so far apart that a long one would leave too many places empty in the rows between, the
    longest is run by itself.
    """
    unread = [one for one in readings if one.n_read < len(one.ids)]
    if not unread:
        return []
    share = max(1, RUN_TOKENS // len(unread))
    parts = [Part(one, min(len(one.ids) - one.n_read, share)) for one in unread]
    slots = [one.slot for one in unread]
    longest = max(parts, key=lambda part: part.size)
    n_places = (max(slots) - min(slots) + 1) * longest.size
    return parts if n_places - sum(part.size for part in parts) <= MAX_PADDING else [longest]


def pack(parts: Sequence[Part], first: int, stop: int) -> dict[str, NDArray[Any]]:
    """Return the graph's inputs for a run over the slots from `first` to before `stop`; see `onnx_export/graph.py`."""
    n_rows, n_most = stop - first, max(part.size for part in parts)
    spread = np.zeros((n_rows, n_most), np.int64)
    lasts, new = np.zeros(n_rows, np.int32), np.zeros(n_rows, np.int32)
    packed, at = [], 0
    for part in parts:
        row, size = part.reading.slot - first, part.size
        spread[row, :size] = np.arange(at, at + size)
        packed.append(np.arange(row * n_most, row * n_most + size))
        lasts[row], new[row] = part.reading.length + size - 1, size
        at += size
    return {
        "input_ids": np.concatenate([part.reading.ids[part.reading.n_read :][: part.size] for part in parts]),
        "spread": spread,
        "packed": np.concatenate(packed),
        "seqlens_k": lasts,
        "total_sequence_length": np.array(lasts.max() + 1, np.int32),
        "query_seqlens": new,
    }

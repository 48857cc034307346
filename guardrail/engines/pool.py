"""The KV memory of all sessions of an engine: one slot a session, so that any of them can stand in one batch.

A slot has room for the whole context from the start. That costs address space only: the system gives memory as
positions are written, and takes it back when a slot is freed.
"""

import heapq
import mmap
import sys
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import ConfigurationError, EngineOverloaded

_POSITIONS = 256
"""Capacities are multiples of this: a slot then begins and ends with a page of memory, as heads have at least 16
values."""

_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


class KVPool:
    """Keys and values by name, [slot, kv heads, capacity, size]. Safe for many threads; a slot has one user at a time.

    Attributes:
        buffers: name -> all slots.
        capacity: positions of a slot.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, int]], dtype: type[np.generic], *, n_slots: int, capacity: int
    ) -> None:
        """Reserve address space.

        Args:
            shapes: name -> kv heads and size of a head, a multiple of 16.
            dtype: float32, or int8 for quantised caches.
            n_slots: sessions at once.
            capacity: positions of a slot at least.

        Raises:
            ConfigurationError: the system refuses so much address space.
        """
        self.capacity = -(-capacity // _POSITIONS) * _POSITIONS
        self._lock = threading.Lock()
        self._maps: dict[str, Any] = {}
        self.buffers: dict[str, NDArray[Any]] = {}
        for name, (n_heads, size) in shapes.items():
            shape = (n_slots, n_heads, self.capacity, size)
            try:
                self._maps[name], self.buffers[name] = _reserve(shape, dtype)
            except (OSError, MemoryError, ValueError, OverflowError) as error:
                raise ConfigurationError(
                    f"no address space for {n_slots} sessions of {self.capacity} tokens",
                    hint="lower max_sessions or max_context",
                ) from error
        self._free = list(range(n_slots))
        self._returned: deque[int] = deque()

    @property
    def n_free(self) -> int:
        """Slots that nobody uses."""
        return len(self._free) + len(self._returned)

    def take(self) -> int:
        """Return a free slot, the lowest, so that those in use stand close together.

        Raises:
            EngineOverloaded: there is none.
        """
        with self._lock:
            while self._returned:
                heapq.heappush(self._free, self._returned.popleft())
            if not self._free:
                raise EngineOverloaded("every session slot is in use", hint="close streams, or raise max_sessions")
            return heapq.heappop(self._free)

    def give_back(self, slot: int) -> None:
        """Free a slot and its memory. Takes no lock: the garbage collector may call it anywhere."""
        for name, held in self._maps.items():
            if held is not None:
                n_bytes = self.buffers[name][slot].nbytes
                held.madvise(mmap.MADV_DONTNEED, slot * n_bytes, n_bytes)
        self._returned.append(slot)

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first positions of a slot into another one."""
        for buffer in self.buffers.values():
            buffer[target, :, :length] = buffer[source, :, :length]


def _reserve(shape: tuple[int, ...], dtype: type[np.generic]) -> tuple[Any, NDArray[Any]]:
    """Return a mapping that gives memory back, where there is such a thing, and the array over it.

    Huge pages are declined: a page a head holds few positions, and 2 MB for each of 448 of them would be a gigabyte.
    """
    if not hasattr(mmap, "MADV_DONTNEED") or not hasattr(mmap, "MADV_NOHUGEPAGE"):
        return None, np.zeros(shape, dtype)
    n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    held = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE)
    held.madvise(mmap.MADV_NOHUGEPAGE)
    return held, np.frombuffer(held, dtype).reshape(shape)

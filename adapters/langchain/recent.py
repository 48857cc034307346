"""A bounded memory of what was seen lately."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """The latest entries by key. Bounded: the oldest go. Safe for many threads."""

    def __init__(self, most: int = 8192) -> None:
        """Start empty.

        Args:
            most: entries kept; our own choice.
        """
        self._most = most
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, V] = OrderedDict()

    def keep(self, key: Hashable, value: V) -> None:
        """Keep a value under its key."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)

    def find(self, key: Hashable) -> V | None:
        """Return the value; None if there is none."""
        with self._lock:
            return self._entries.get(key)

    def take(self, key: Hashable) -> V | None:
        """Return and forget the value; None if there is none."""
        with self._lock:
            return self._entries.pop(key, None)

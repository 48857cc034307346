"""What happens to open queues when the process ends or forks: records are stored though nobody closed their sink."""

import atexit
import os
import sys
from typing import Protocol


class Ending(Protocol):
    """Holds something that must be stored before the process ends."""

    def shut(self) -> bool:
        """Begin to end, without waiting."""
        ...

    def close(self) -> None:
        """End, when all is stored."""
        ...

    def begin(self) -> None:
        """Begin anew, in a forked child: what waited is its parent's."""
        ...


_open: set[Ending] = set()


def watch(one: Ending) -> None:
    """See to it that this one is closed when the process ends."""
    _open.add(one)


def forget(one: Ending) -> None:
    """Let go of one that is closed."""
    _open.discard(one)


def watch_worker() -> None:
    """See to it that a worker of `multiprocessing` closes what is open, which ends without what `atexit` calls."""
    workers = sys.modules.get("multiprocessing.process")
    if workers and workers.parent_process():
        from multiprocessing.util import Finalize

        Finalize(None, _close_all, exitpriority=0)


@atexit.register
def _close_all() -> None:
    """Close all, side by side: those that are away are waited for once."""
    ones = list(_open)
    for one in ones:
        one.shut()
    for one in ones:
        one.close()


def _begin_again() -> None:
    for one in _open:
        one.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)

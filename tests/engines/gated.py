"""An engine whose steps wait until a test lets them run, and which some token ids break."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from guardrail.engines.base import Engine, Feed, Logits, Session
from guardrail.testing import EngineAround

RAISES, SPOILS = 13, 17
"""Token ids: the first makes the step raise, the second gives its row NaN."""


class GatedEngine(EngineAround):
    """Runs an engine one permitted step at a time.

    Attributes:
        batches: tokens of each feed, one list a step, those of steps that failed included.
        opened: all sessions, oldest first.
    """

    def __init__(self, inner: Engine, *, is_open: bool = False) -> None:
        """Take an engine; unless `is_open`, no step runs before `let_run`."""
        super().__init__(inner)
        self.batches: list[list[int]] = []
        self.opened: list[Session] = []
        self._is_open = is_open
        self._permits = threading.Semaphore(0)
        self._changed = threading.Condition()
        self._n_begun = self._n_ended = 0

    def open(self) -> Session:
        self.opened.append(self.inner.open())
        return self.opened[-1]

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        with self._changed:
            self._n_begun += 1
            self._changed.notify_all()
        if not self._is_open:
            assert self._permits.acquire(timeout=20)
        try:
            return self._step(feeds)
        finally:
            with self._changed:
                self._n_ended += 1
                self._changed.notify_all()

    @property
    def is_waiting(self) -> bool:
        """Whether a step waits for its permission."""
        return self._n_begun > self._n_ended

    def wait_for_step(self) -> None:
        """Return once a step waits."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.is_waiting, timeout=20)

    def let_run(self) -> None:
        """Let the next step run and return once it has ended."""
        self.wait_for_step()
        n_ended = self._n_ended
        self._permits.release()
        with self._changed:
            assert self._changed.wait_for(lambda: self._n_ended > n_ended, timeout=20)

    def open_up(self) -> None:
        """Let every step run from now on."""
        self._is_open = True
        self._permits.release(1000)

    def _step(self, feeds: Sequence[Feed]) -> list[Logits]:
        self.batches.append([len(feed.ids) for feed in feeds])
        if any(RAISES in feed.ids for feed in feeds):
            raise RuntimeError("this step was made to fail")
        logits = self.inner.step(feeds)
        return [
            replace(one, response_risk=one.response_risk * np.nan) if SPOILS in feed.ids else one
            for feed, one in zip(feeds, logits, strict=True)
        ]

"""Rows that wait for somebody else's server wait side by side, a few at a time and no faster than allowed."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from guardrail.errors import ConversationError, EngineError
from guardrail.evaluation.judges import Judge, Judgement, failed
from guardrail.evaluation.rows import Row

_ROUNDS = 4
"""Rows of a batch for each one under way: at the end of a batch, threads wait for its slowest row. Ours."""


class Pace:
    """Lets callers pass at an even pace. Safe for many threads."""

    def __init__(
        self,
        per_minute: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Let the first caller pass at once.

        Args:
            per_minute: callers that pass.
            clock: seconds.
            sleep: waits for seconds.
        """
        self._gap_s, self._clock, self._sleep = 60 / per_minute, clock, sleep
        self._lock = threading.Lock()
        self._next = clock()

    def wait(self) -> None:
        """Return when it is the caller's turn."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._gap_s
        if turn > now:
            self._sleep(turn - now)


class SideBySide:
    """A judge that takes rows one by one, asked about several at once; use it as a context.

    A row that cannot be judged is counted as the gravest there is, and is not asked about again: the client has tried
    as often as it should.
    """

    def __init__(self, judge: Judge, at_once: int, pace: Pace | None = None) -> None:
        """Wrap a judge that is safe for many threads.

        Args:
            judge: which.
            at_once: most rows under way.
            pace: no faster than this; None sets no bound.
        """
        self.name, self.identity, self.batch_size = judge.name, judge.identity, at_once * _ROUNDS
        self._judge, self._pace = judge, pace
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="guardrail-judge")

    def judge(self, rows: Sequence[Row]) -> list[Judgement]:
        """Judge the rows side by side; never raises for a row."""
        return list(self._threads.map(self._one, rows))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _one(self, row: Row) -> Judgement:
        if self._pace:
            self._pace.wait()
        try:
            return self._judge.judge([row])[0]
        except (EngineError, ConversationError) as error:
            return failed(error)

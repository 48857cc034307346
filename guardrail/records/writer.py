"""Between decisions and a store: a bounded queue and one thread, so that storing never delays a stream.

What a call hands over is stored soon; a stop is stored before its call returns, if durability is `sync`. While a store
is away its records wait and are tried again; when too many wait, the named policy says which ones are lost, and they
are counted.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from guardrail.errors import RecordError
from guardrail.records.base import Store
from guardrail.records.ending import forget, watch, watch_worker
from guardrail.records.queueing import Durability, Queueing, WhenFull
from guardrail.records.record import Record
from guardrail.tape import Receipt

_log = logging.getLogger("guardrail")

BATCH = 512
"""Most records of one call of a store. Our choice."""

FIRST_RETRY_S, LAST_RETRY_S = 0.05, 1.0
"""Pauses between tries while a store is away; each is twice the one before it. The last one is well below the time that
a stop waits, so that a store that is back soon costs no stop its record's safety. Our choice."""

OVERRUN = 2
"""Callers that were kept long enough go on, and their records still wait: up to so many times the bound, then they are
dropped. So far stops under `sync` are let in by `drop`, too."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    record: Record
    n_bytes: int
    is_sync: bool
    stored: Future[None] | None


class Writer:
    """A queue before a store, and the thread that empties it. Safe for many threads; in a forked child it begins anew.

    Nothing is logged while the lock is held: a handler may write to this very sink.

    Attributes:
        n_stored: records that the store has taken.
        n_dropped: records that found no room.
        n_refused: records that the store will never take.
        n_abandoned: records that were still waiting when it was closed.
    """

    def __init__(self, store: Store, queueing: Queueing, name: str) -> None:
        self._store, self._queueing, self._name = store, queueing, name
        self._is_closed = False
        self._closes_at = float("inf")
        self.begin()
        watch(self)

    def begin(self) -> None:
        """Start with an empty queue: at first, and in a forked child, whose parent stores what waited."""
        self._queue: deque[_Waiting] = deque()
        self._n_bytes = self._n_sync = self._n_flushing = 0
        self.n_stored = self.n_dropped = self.n_refused = self.n_abandoned = 0
        self._is_away = self._is_dropping = self._is_refusing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def n_waiting(self) -> int:
        """Records that are not stored yet."""
        return len(self._queue)

    @property
    def n_lost(self) -> int:
        """Records that are stored nowhere, and never will be."""
        return self.n_dropped + self.n_refused + self.n_abandoned

    def put(self, record: Record, *, is_stop: bool) -> Receipt | None:
        """Queue a record, or count it as dropped; return what its caller must wait for, if anything.

        Raises:
            RecordError: the sink is closed.
        """
        queueing, n_bytes = self._queueing, _size(record)
        is_sync = is_stop and queueing.durability is Durability.SYNC
        with self._changed:
            if self._is_closed:
                raise RecordError(f"the {self._name} sink is closed")
            fill = max((len(self._queue) + 1) / queueing.max_waiting, (self._n_bytes + n_bytes) / queueing.max_bytes)
            is_full = bool(self._queue) and fill > 1
            if not is_full or ((is_sync or queueing.when_full is WhenFull.BLOCK) and fill <= OVERRUN):
                one = _Waiting(record, n_bytes, is_sync, _future() if is_sync or is_full else None)
                self._add(one)
                return Receipt(one.stored, queueing.timeout_s) if one.stored else None
            self.n_dropped += 1
            n_waiting, is_first, self._is_dropping = len(self._queue), not self._is_dropping, True
        if is_first:
            _log.error("records are dropped: %d wait for the %s sink", n_waiting, self._name)
        return None

    def _add(self, one: _Waiting) -> None:
        """Put one on the queue, and see to it that a thread empties it; the lock is held."""
        self._queue.append(one)
        self._n_bytes += one.n_bytes
        self._n_sync += one.is_sync
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._run, name=f"guardrail-{self._name}", daemon=True)
            with suppress(RuntimeError):  # the interpreter ends, or has no thread left: closing stores what waits
                thread.start()
                self._thread = thread
                watch_worker()
        self._changed.notify_all()

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until nothing waits that does now; return whether that was so in time."""
        with self._changed:
            goal = self._n_ended + len(self._queue)
            self._n_flushing += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._n_ended >= goal, timeout_s)
            finally:
                self._n_flushing -= 1

    @property
    def _n_ended(self) -> int:
        return self.n_stored + self.n_refused + self.n_abandoned

    def close(self) -> None:
        """Store what waits, for `close_s` at most, and close the store; closing twice is harmless."""
        was_closed, thread = self.shut(), self._thread
        if thread is None or not thread.is_alive():
            if not was_closed:
                self._run()
        elif threading.current_thread() is not thread:
            thread.join(self._queueing.close_s + 1)
            if thread.is_alive():
                _log.error("the %s sink hangs: %d records are not stored", self._name, len(self._queue))
        forget(self)

    def shut(self) -> bool:
        """Take no more, and begin to store what waits; return whether that was so before."""
        with self._changed:
            self._closes_at = min(self._closes_at, time.monotonic() + self._queueing.close_s)
            was_closed, self._is_closed = self._is_closed, True
            self._changed.notify_all()
        return was_closed

    def _run(self) -> None:
        while batch := self._next():
            self._take(batch)
        with self._changed:
            left = list(self._queue)
        self._end(left, n_abandoned=len(left))
        if left:
            _log.error("%d records were not stored: the %s sink was closed", len(left), self._name)
        try:
            self._store.close()
        except Exception as error:  # noqa: BLE001  # the record sink's edge: all that could be stored is
            _log.error("the %s sink's store could not be closed: %s", self._name, type(error).__name__)

    def _next(self) -> list[_Waiting]:
        """Return records to store, without taking them off the queue; none once it is closed and empty, or too late."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closed)
            if self._queueing.flush_s and not self._is_urgent:
                self._changed.wait_for(lambda: self._is_urgent, self._queueing.flush_s)
            if time.monotonic() >= self._closes_at:
                return []
            return [self._queue[i] for i in range(min(BATCH, len(self._queue)))]

    @property
    def _is_urgent(self) -> bool:
        return bool(self._is_closed or self._n_sync or self._n_flushing or len(self._queue) >= BATCH)

    def _take(self, batch: Sequence[_Waiting]) -> bool:
        """Store a batch; one that is refused is tried record by record, so that one bad record costs no other. Return
        whether all of it has ended; what has not, because the sink was closed meanwhile, stays on the queue.
        """
        try:
            self._append(batch)
        except RecordError as error:
            if error.retryable:
                return False
            if len(batch) > 1:
                return all(self._take([one]) for one in batch)  # in order, and none behind one that stays
            self._refuse(batch[0], error)
        else:
            self._is_refusing = False
            self._end(batch, n_stored=len(batch))
        return True

    def _refuse(self, one: _Waiting, error: RecordError) -> None:
        """Count a record that the store will never take; log the first of a row of them."""
        if not self._is_refusing:
            _log.error("the %s sink refused record %s: %s", self._name, one.record.id, error)
        self._is_refusing = True
        self._end([one], n_refused=1)

    def _append(self, batch: Sequence[_Waiting]) -> None:
        """Store records, trying again while the store is away.

        Raises:
            RecordError: the store will not take them; retryable if it was closed before it came back.
        """
        pause_s = FIRST_RETRY_S
        records, is_sync = [one.record for one in batch], any(one.is_sync for one in batch)
        while True:
            try:
                self._append_once(records, is_sync=is_sync)
            except RecordError as error:
                if not error.retryable or time.monotonic() >= self._closes_at:
                    raise
                self._tell(error)
            else:
                self._tell(None)
                return
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed, min(pause_s, self._closes_at - time.monotonic()))
            if self._is_closed:
                time.sleep(FIRST_RETRY_S)
            pause_s = min(2 * pause_s, LAST_RETRY_S)

    def _append_once(self, records: Sequence[Record], *, is_sync: bool) -> None:
        try:
            self._store.append(records, sync=is_sync)
        except RecordError:
            raise
        except Exception as error:  # the record sink's edge: whatever a store raises, its thread lives on
            is_away = isinstance(error, OSError | MemoryError)  # what the system has not now, it may have later
            raise RecordError(f"the store raised {type(error).__name__}", retryable=is_away) from error

    def _tell(self, error: RecordError | None) -> None:
        """Log once that the store is away, and once that it is back."""
        was_away, self._is_away = self._is_away, error is not None
        if error and not was_away:
            _log.error("the %s sink is away, records wait: %s", self._name, error)
        elif was_away and not error:
            _log.warning("the %s sink is back", self._name)

    def _end(self, batch: Sequence[_Waiting], *, n_stored: int = 0, n_refused: int = 0, n_abandoned: int = 0) -> None:
        """Take records off the queue, count what became of them, and let their callers go on."""
        with self._changed:
            self.n_stored += n_stored
            self.n_refused += n_refused
            self.n_abandoned += n_abandoned
            for one in batch:
                self._queue.popleft()
                self._n_bytes -= one.n_bytes
                self._n_sync -= one.is_sync
            self._is_dropping = self._is_dropping and bool(self._queue)
            self._changed.notify_all()
        for one in batch:
            if one.stored:
                one.stored.set_result(None)


def _future() -> Future[None]:
    """Return a future that its waiters cannot cancel: it is not theirs alone."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future


def _size(record: Record) -> int:
    """Return about what a record takes."""
    tokens = 400 * len(record.tokens or ())
    return 1000 + len(record.positions or b"") + len(record.text or "") + tokens

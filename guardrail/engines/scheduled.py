"""Continuous batching over any engine: many callers, one worker, each call of the model shared by all who wait.

While a call runs, further requests pile up; the next call takes all of them, each with as many tokens as it has. So a
stream that is fed faster than the model reads catches up by itself, and sixteen streams cost little more than one.
"""

import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from guardrail.engines.base import Engine, Feed, Logits, ModelInfo, Session, check_feeds
from guardrail.engines.isolating import Answer, answers
from guardrail.engines.requests import Request, Row, ScheduledSession, ScheduledTicket
from guardrail.engines.runtime import Runtime
from guardrail.engines.scheduler import Scheduler, Share
from guardrail.errors import EngineError, EngineOverloaded

GATHERING = 0.05
"""Share of a call's time that the next one waits for those who were just answered, if there were several. They come
back within a millisecond; without waiting the first would be read alone, and the others by every second call."""

_log = logging.getLogger("guardrail")


class ScheduledEngine:
    """Runs any engine for many threads and tasks at once. Verdicts are those of a session alone.

    A request fails alone: what the model raises for a batch is tried again row by row. After a failure the sessions of
    the request are at their former lengths.

    Attributes:
        inner: the engine that runs the model; nobody else may use it.
        n_read: tokens that the model was given so far.
    """

    def __init__(self, inner: Engine, runtime: Runtime | None = None) -> None:
        """Take an engine.

        Args:
            inner: runs the model.
            runtime: of it, the limits of queues, calls and time count here.
        """
        self.inner = inner
        self.n_read = 0
        self._runtime = runtime or Runtime()
        self._scheduler = Scheduler(self._runtime.step_tokens)
        self._lock = threading.RLock()
        self._arrived = threading.Condition(self._lock)
        self._pid = os.getpid()
        self._is_closed = False
        self._is_working = False
        self._running: list[Share] = []
        self._worker = ThreadPoolExecutor(1, "guardrail-engine")

    @property
    def info(self) -> ModelInfo:
        """Identity and limits of the model."""
        return self.inner.info

    @property
    def n_waiting(self) -> int:
        """Feeds that wait for the model, those of the call under way apart."""
        return len(self._scheduler)

    def open(self) -> ScheduledSession:
        """Start an empty session.

        Raises:
            EngineOverloaded: as many are open as may be.
            EngineError: the inner engine cannot.
        """
        return ScheduledSession(self, self.inner.open())

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append each feed's ids to its session and return their logits; see `Engine.step`.

        Raises:
            EngineOverloaded: too many feeds wait already.
            EngineTimeout: there was no answer in time.
        """
        ticket = self.submit(feeds)
        try:
            return ticket.future.result(ticket.timeout_s)
        except TimeoutError:
            ticket.expire()
            return ticket.future.result()
        except BaseException:
            if not ticket.future.done():  # interrupted: sessions must be at rest before the caller goes on
                ticket.withdraw()
                ticket.future.exception()
            raise

    def submit(self, feeds: Sequence[Feed]) -> ScheduledTicket:
        """As `step`, without waiting; see `Submitting.submit`."""
        if os.getpid() != self._pid:  # before the lock, which a thread that is not here may hold
            raise EngineError("the engine was loaded before a fork; load it in each process")
        with self._lock:
            if self._is_closed:
                raise EngineError("the engine was closed")
            request = self._request(feeds)
            if request.rows:
                self._start_worker()
                self._scheduler.add(request)
                for row in request.rows:
                    row.session.request = request
                self._arrived.notify()
            else:
                request.answer()
        return ScheduledTicket(request, self, self._runtime.timeout_s)

    def end(self, request: Request, error: BaseException, *, at_once: bool = False) -> None:
        """End a request without logits, once no call of the model reads into its sessions.

        Args:
            request: nothing happens if it has ended.
            error: what its future raises.
            at_once: end the future now, before its sessions are at rest.
        """
        if os.getpid() != self._pid:
            return
        with self._lock:
            if request.is_settled:
                return
            request.fail(error)
            is_at_rest = not any(row.request is request for row, _ in self._running)
            if is_at_rest:
                self._settle(request)
        if is_at_rest or at_once:
            request.answer()

    def close(self) -> None:
        """Fail what waits and free everything, after the call under way."""
        if os.getpid() == self._pid:
            with self._lock:
                self._is_closed = True
                waiting = {row.request for row in self._scheduler.rows} | {row.request for row, _ in self._running}
            for request in waiting:
                self.end(request, EngineError("the engine was closed"))
            self._worker.shutdown(wait=False)
        self.inner.close()

    def _request(self, feeds: Sequence[Feed]) -> Request:
        """Return a request of feeds that can be run."""
        sessions = [self._own(feed.session) for feed in feeds]
        check_feeds(feeds, self.info.max_context)
        n_waiting = len(self._scheduler)
        if n_waiting + len(feeds) > self._runtime.max_waiting:
            raise EngineOverloaded(
                f"{n_waiting} feeds wait for the model already", hint="try again later, or raise max_waiting"
            )
        request = Request()
        request.rows += [
            Row(request, session, feed.ids, session.length) for session, feed in zip(sessions, feeds, strict=True)
        ]
        return request

    def _own(self, session: Session) -> ScheduledSession:
        if not isinstance(session, ScheduledSession) or session.engine is not self:
            raise EngineError("the session belongs to another engine")
        if session.is_closed or session.request is not None:
            raise EngineError(f"the session is {'closed' if session.is_closed else 'still being read into'}")
        return session

    def _start_worker(self) -> None:
        if self._is_working:
            return
        try:
            self._worker.submit(self._work)
        except RuntimeError as error:  # the interpreter is on its way out
            raise EngineError("the program is ending") from error
        self._is_working = True

    def _work(self) -> None:
        """Call the model until nothing waits."""
        while True:
            with self._lock:
                self._running = self._scheduler.take()
                if not self._running:
                    self._is_working = False
                    return
            started = time.monotonic()
            feeds = [Feed(row.session.inner, row.ids[row.n_read : row.n_read + n]) for row, n in self._running]
            found = answers(self.inner, feeds)
            self.n_read += sum(len(feed.ids) for feed in feeds)
            with self._lock:
                rows, self._running = [row for row, _ in self._running], []
                ended = [row.request for row, answer in zip(rows, found, strict=True) if self._take_in(row, answer)]
            for request in ended:
                request.answer()
            if len(ended) > 1:
                self._gather(len(ended), GATHERING * (time.monotonic() - started))

    def _gather(self, n_answered: int, timeout_s: float) -> None:
        """Wait until as many wait again as were just answered, but not long."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self._scheduler) >= n_answered or self._is_closed, timeout_s)

    def _take_in(self, row: Row, answer: Answer) -> bool:
        """Note what the model gave for a row; return whether its request ends with that."""
        request = row.request
        if request.is_settled:  # another row of it failed in the same call
            return False
        if isinstance(answer, EngineError):
            request.fail(answer)
        else:
            row.take_in(answer)
        if not request.is_over:
            if row.n_left:
                self._scheduler.put_back(row)
            return False
        self._settle(request)
        return True

    def _settle(self, request: Request) -> None:
        """Put the sessions of a request to rest; if it failed, at their former lengths."""
        if request.error is not None:
            self._scheduler.remove(request)
            _roll_back(request.rows)
        for row in request.rows:
            row.session.request = None
        request.is_settled = True


def _roll_back(rows: Iterable[Row]) -> None:
    """Set sessions back to where they were; one that cannot be is closed, and so never read from again."""
    for row in rows:
        session = row.session
        try:
            if not session.is_closed:
                session.inner.rollback(row.start)
        except Exception as error:  # noqa: BLE001  # the engine edge: whatever is wrong with it, it ends here
            _log.error("an engine's session could not be rolled back: %s", type(error).__name__)
            session.is_closed = True
            session.inner.close()

"""An engine that counts what it is fed, and knows all of its sessions."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from guardrail.engines.base import Engine, Feed, Logits, ModelInfo, Session
from guardrail.errors import EngineError, EngineOverloaded


class CountedSession:
    """A session of the inner engine.

    Attributes:
        engine: that opened it.
        inner: the inner engine's session.
        origin: what it is a copy of; None if it was opened empty.
        is_closed: whether it was closed.
    """

    def __init__(self, engine: "CountingEngine", inner: Session, origin: "CountedSession | None" = None) -> None:
        self.engine = engine
        self.inner = inner
        self.origin = origin
        self.is_closed = False
        self._users = 0
        engine.opened.append(self)

    @property
    def length(self) -> int:
        return self.inner.length

    def rollback(self, length: int) -> None:
        with self.used():
            self.inner.rollback(length)

    def fork(self, length: int) -> "CountedSession":
        with self.used():
            self.engine.before_fork()
            with self.engine.slot():
                return CountedSession(self.engine, self.inner.fork(length), self)

    def close(self) -> None:
        with self.used():
            self.is_closed = True
            self.inner.close()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Note it when two use the session at once, or one uses it after its end."""
        self._users += 1
        if self._users > 1 or self.is_closed:
            self.engine.clashes.append(self)
        try:
            yield
        finally:
            self._users -= 1


class CountingEngine:
    """Counts the tokens that its inner engine reads.

    Attributes:
        inner: the engine; may be exchanged.
        fed: tokens of each step.
        longest: most tokens that a session has held.
        opened: all sessions, copies included, oldest first.
        clashes: sessions that two used at once, or that were used after their end.
        before_fork: called inside each fork.
    """

    def __init__(
        self, inner: Engine, *, max_sessions: int | None = None, kv_bytes_per_token: int | None = None
    ) -> None:
        """Count.

        Args:
            inner: the engine.
            max_sessions: that may be open at once.
            kv_bytes_per_token: said in place of the inner engine's.
        """
        self.inner = inner
        self.fed: list[int] = []
        self.longest = 0
        self.opened: list[CountedSession] = []
        self.clashes: list[CountedSession] = []
        self.before_fork: Callable[[], object] = lambda: None
        self._max_sessions = max_sessions
        self._bytes_per_token = kv_bytes_per_token
        self._lock = threading.Lock()

    @property
    def n_read(self) -> int:
        """Tokens read so far."""
        return sum(self.fed)

    @property
    def live(self) -> list[CountedSession]:
        """Sessions that are not closed, oldest first."""
        return [session for session in self.opened if not session.is_closed]

    @property
    def info(self) -> ModelInfo:
        info = self.inner.info
        return info if self._bytes_per_token is None else replace(info, kv_bytes_per_token=self._bytes_per_token)

    def open(self) -> Session:
        with self.slot():
            return CountedSession(self, self.inner.open())

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        self.fed.append(sum(len(feed.ids) for feed in feeds))
        with ExitStack() as used:
            for feed in feeds:
                used.enter_context(_own(feed.session).used())
            logits = self.inner.step([Feed(_own(feed.session).inner, feed.ids) for feed in feeds])
        self.longest = max(self.longest, *(feed.session.length for feed in feeds))
        return logits

    def close(self) -> None:
        self.inner.close()

    def count(self, work: Callable[[], object]) -> int:
        """Return how many tokens some work reads."""
        before = self.n_read
        work()
        return self.n_read - before

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Open one session at a time, while there is room for it."""
        with self._lock:
            if self._max_sessions is not None and len(self.live) >= self._max_sessions:
                raise EngineOverloaded("every session slot is in use")
            yield


def _own(session: Session) -> CountedSession:
    if not isinstance(session, CountedSession):
        raise EngineError("the session belongs to another engine")
    return session

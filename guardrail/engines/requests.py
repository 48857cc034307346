"""Work that was given to a scheduled engine: sessions, the requests that read into them, and tickets for those."""

from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guardrail.engines.base import Logits, Session, joined
from guardrail.errors import EngineError, EngineTimeout

if TYPE_CHECKING:
    from guardrail.engines.scheduled import ScheduledEngine


@dataclass(slots=True, eq=False)
class Row:
    """One feed of a request, and how much of it was read.

    Attributes:
        request: whose row it is.
        session: that the tokens are appended to.
        ids: tokens to read.
        start: tokens that the session held before.
        n_read: of the ids.
        parts: logits of what was read.
    """

    request: "Request"
    session: "ScheduledSession"
    ids: Sequence[int]
    start: int
    n_read: int = 0
    parts: list[Logits] = field(default_factory=list)

    @property
    def n_left(self) -> int:
        """Tokens still to read."""
        return len(self.ids) - self.n_read

    def take_in(self, logits: Logits) -> None:
        """Keep the logits of the next tokens."""
        self.parts.append(logits)
        self.n_read += len(logits.query_risk)

    @property
    def logits(self) -> Logits:
        """Of all that was read."""
        if len(self.parts) == 1:
            return self.parts[0]
        return joined(self.parts)


@dataclass(slots=True, eq=False)
class Request:
    """Feeds that are answered together: all of them, or none.

    Attributes:
        rows: one a feed.
        future: ends with the logits in the order of the feeds, or with the reason that there are none.
        error: why it ends without logits, once that is known.
        is_settled: whether its sessions are at rest: no call of the model reads into them any more.
    """

    rows: list[Row] = field(default_factory=list)
    future: Future[list[Logits]] = field(default_factory=Future)
    error: BaseException | None = None
    is_settled: bool = False

    def __post_init__(self) -> None:
        """Take the future out of the hands of those who would cancel it: work is withdrawn, never just forgotten."""
        self.future.set_running_or_notify_cancel()

    @property
    def is_over(self) -> bool:
        """Whether it failed, or every row was read to its end."""
        return self.error is not None or not any(row.n_left for row in self.rows)

    def fail(self, error: BaseException) -> None:
        """Give a reason why there are no logits; the first one counts."""
        if self.error is None:
            self.error = error

    def answer(self) -> None:
        """End the future, unless it has ended."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result([row.logits for row in self.rows])


class ScheduledSession:
    """A session of the inner engine. One caller at a time, but any thread may close it.

    Attributes:
        engine: that opened it.
        inner: the inner engine's session.
        request: that reads into it now; None at rest.
        is_closed: whether it was closed.
    """

    def __init__(self, engine: "ScheduledEngine", inner: Session) -> None:
        self.engine = engine
        self.inner = inner
        self.request: Request | None = None
        self.is_closed = False

    @property
    def length(self) -> int:
        """Tokens held; while a request reads, those before it."""
        request = self.request
        if request is not None:
            return next(row.start for row in request.rows if row.session is self)
        return self.inner.length

    def rollback(self, length: int) -> None:
        """Forget what follows the first `length` tokens."""
        self._check_at_rest()
        self.inner.rollback(length)

    def fork(self, length: int) -> "ScheduledSession":
        """Return a session with the first `length` tokens; see `Session.fork`."""
        self._check_at_rest()
        return ScheduledSession(self.engine, self.inner.fork(length))

    def close(self) -> None:
        """Free the inner session, after the call of the model under way if that uses it."""
        self.is_closed = True
        if self.request is not None:
            self.engine.end(self.request, EngineError("the session was closed"))
        self.inner.close()

    def _check_at_rest(self) -> None:
        if self.is_closed or self.request is not None:
            raise EngineError(f"the session is {'closed' if self.is_closed else 'still being read into'}")


class ScheduledTicket:
    """A request of a `ScheduledEngine`.

    Attributes:
        future: ends with the logits, or with what went wrong.
        timeout_s: seconds after which it should be expired; None never.
    """

    def __init__(self, request: Request, engine: "ScheduledEngine", timeout_s: float | None) -> None:
        self.future: Future[list[Logits]] = request.future
        self.timeout_s = timeout_s
        self._request, self._engine = request, engine

    def withdraw(self) -> None:
        """Take the work back; see `Ticket.withdraw`."""
        self._engine.end(self._request, CancelledError())

    def expire(self) -> None:
        """Fail the work now, whatever the model does; see `Ticket.expire`."""
        error = EngineTimeout(
            f"the model did not answer within {self.timeout_s} s", hint="try again, or raise timeout_s"
        )
        self._engine.end(self._request, error, at_once=True)

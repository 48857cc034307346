"""What runs next: requests that wait for the model, and the share of each in its next call. No threads, no clock."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from guardrail.engines.base import Logits

if TYPE_CHECKING:
    from guardrail.engines.scheduled import ScheduledSession

OUTPUTS = ("query_risk", "query_category", "response_risk", "response_category")


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
        return Logits(*(np.concatenate([getattr(part, name) for part in self.parts]) for name in OUTPUTS))


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


Share = tuple[Row, int]
"""A row, and how many of its tokens the next call reads."""


class Scheduler:
    """The rows that wait, in the order of their turn. One caller at a time.

    A call reads at most `step_tokens` tokens. Every waiting row has an equal part of them; what short rows leave goes
    to the longer ones, first come, first served. Where more rows wait than there are tokens in a call, those that were
    not in the last call come first. So a long prompt never keeps others waiting for more than a call, and nobody
    starves.
    """

    def __init__(self, step_tokens: int) -> None:
        self._step_tokens = step_tokens
        self._rows: deque[Row] = deque()

    @property
    def rows(self) -> list[Row]:
        """Rows that wait."""
        return list(self._rows)

    def __len__(self) -> int:
        """How many rows wait."""
        return len(self._rows)

    def add(self, request: Request) -> None:
        """Let a request wait."""
        self._rows.extend(request.rows)

    def remove(self, request: Request) -> None:
        """Forget a request's rows."""
        self._rows = deque(row for row in self._rows if row.request is not request)

    def take(self) -> list[Share]:
        """Return the next call's shares; its rows no longer wait."""
        rows = [self._rows.popleft() for _ in range(min(len(self._rows), self._step_tokens))]
        if not rows:
            return []
        equal = self._step_tokens // len(rows)
        sizes = [min(row.n_left, equal) for row in rows]
        spare = self._step_tokens - sum(sizes)
        for i, row in enumerate(rows):
            more = min(row.n_left - sizes[i], spare)
            sizes[i] += more
            spare -= more
        return list(zip(rows, sizes, strict=True))

    def put_back(self, row: Row) -> None:
        """Let a row that is not read to its end wait again, behind those that wait already."""
        self._rows.append(row)

"""What runs next: requests that wait for the model, and the share of each in its next call. No threads, no clock."""

from collections import deque

from guardrail.engines.requests import Request, Row

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

"""A report as plain figures: what the terminal, the page and the JSON show, all three from here."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from guardrail.actions import Action
from guardrail.audit.report.tallies import Tally

MAX_ROWS = 200
"""Most rows of one table of the page and the JSON; what is beyond them is counted. Our choice."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Decisions by action.

    Attributes:
        n: all of them.
        would_stop: those that only shadow mode kept from being stops.
    """

    n: int
    allow: int
    flag: int
    ask: int
    stop: int
    would_stop: int

    @classmethod
    def of(cls, tallies: Sequence[Tally]) -> "Counts":
        """Return the sums of tallies."""
        allow, flag, ask, stop = (sum(tally.actions[i] for tally in tallies) for i in range(len(Action)))
        n_would_stop = sum(tally.n_would_stop for tally in tallies)
        return cls(allow + flag + ask + stop, allow, flag, ask, stop, n_would_stop)


NO_COUNTS = Counts(0, 0, 0, 0, 0, 0)


def added(all_counts: Sequence[Counts]) -> Counts:
    """Return the sums."""
    return Counts(*(sum(getattr(one, part.name) for one in all_counts) for part in dataclasses.fields(Counts)))


@dataclass(frozen=True, slots=True)
class Row:
    """Decisions that have something in common.

    Attributes:
        names: what that is, such as a direction and a category.
        counts: by action.
        first: when the first was made, UTC, ISO 8601; None where no time can be read.
        last: when the last was made.
    """

    names: tuple[str, ...]
    counts: Counts
    first: str | None = None
    last: str | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds in the guard, of one direction's decisions; percentiles with the sketch's error."""

    direction: str
    n: int
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class TimeBin:
    """One bin of time.

    Attributes:
        start: first moment, UTC, ISO 8601.
        directions: decisions by direction, where there are any.
        failures: how many, by kind.
    """

    start: str
    directions: dict[str, Counts]
    failures: dict[str, int]


@dataclass(frozen=True, slots=True)
class OverTime:
    """Decisions and failures over time.

    Attributes:
        bin_s: width of a bin, seconds.
        bins: without gaps.
        n_far: decisions left out, far away from all others in time, as from a clock that was wrong.
    """

    bin_s: int
    bins: tuple[TimeBin, ...]
    n_far: int


@dataclass(frozen=True, slots=True)
class OffsetBin:
    """Stops whose offsets lie in [start, end), in characters; an end of None is none."""

    start: int
    end: int | None
    stops: int
    would_stop: int


@dataclass(frozen=True, slots=True)
class Stops:
    """Where answers and tool calls were stopped by a verdict, or would have been, in characters."""

    n: int
    p50: float | None
    p95: float | None
    max: float | None
    bins: tuple[OffsetBin, ...]


@dataclass(frozen=True, slots=True)
class FailureRow:
    """Failures of one kind, with the message of the first."""

    kind: str
    message: str
    counts: Counts
    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation.

    Attributes:
        tenant: whose; "" where none was named.
        id: the caller's.
        counts: by action.
        risky: decisions that the rules stopped, or would have in shadow mode, because of what was read.
        category: kind of harm of the worst decision; "" without one.
        peak: highest probability that a text is not Safe, in [0, 1]; None where none was measured.
        first: when the first decision was made.
        last: when the last was made.
    """

    tenant: str
    id: str
    counts: Counts
    risky: int
    category: str
    peak: float | None
    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    """How much of a table is left out.

    Attributes:
        n_more: rows beyond those listed.
        n_dropped: names that were let go, for want of memory, while counting.
        stops_error: by how many stops a row may be too low because of them.
    """

    n_more: int = 0
    n_dropped: int = 0
    stops_error: int = 0


@dataclass(frozen=True, slots=True)
class Amount:
    """A sum, and in how many records it is not 0."""

    sum: int
    n: int


@dataclass(frozen=True, slots=True)
class Report:
    """All figures.

    Attributes:
        source: name of the store.
        made_at: when, UTC, ISO 8601.
        since: first moment that was asked for; None for no bound.
        until: first moment that was not asked for any more; None for no bound.
        tenant: who was asked for; None for everybody.
        n: records.
        n_unreadable: lines that hold none.
        unreadable: what was wrong with the first of them; "" without any.
        n_timeless: records whose time cannot be read.
        first: time of the first record; None without any.
        last: time of the last record.
        counts: by action.
        directions: by direction.
        latencies: by direction.
        over_time: by time.
        categories: by direction and kind of harm.
        reasons: by direction and reason.
        stops: where answers were stopped.
        leaked_chars: characters passed on beyond a stop.
        unjudged_chars: characters passed on without a verdict.
        failures: by kind.
        conversations: those of the highest risk first.
        n_alone: decisions that belong to no conversation.
        tenants: by tenant, "" where none was named.
        tools: by tool.
        models: by name, engine, precision and hash.
        policies: by name and hash.
        saved_tokens: at most so many tokens stopped LLMs would still have made, over the stops that know it.
        repairs: stopped attempts at answers that were made again.
        repair_tokens: tokens of those attempts.
        versions: records by the schema version in which they were stored.
        listed: what is left out of `categories`, `conversations`, `tenants`, ..., where anything is.
    """

    source: str
    made_at: str
    since: str | None
    until: str | None
    tenant: str | None
    n: int
    n_unreadable: int
    unreadable: str
    n_timeless: int
    first: str | None
    last: str | None
    counts: Counts
    directions: tuple[Row, ...]
    latencies: tuple[Latency, ...]
    over_time: OverTime
    categories: tuple[Row, ...]
    reasons: tuple[Row, ...]
    stops: Stops
    leaked_chars: Amount
    unjudged_chars: Amount
    failures: tuple[FailureRow, ...]
    conversations: tuple[Conversation, ...]
    n_alone: int
    tenants: tuple[Row, ...]
    tools: tuple[Row, ...]
    models: tuple[Row, ...]
    policies: tuple[Row, ...]
    saved_tokens: Amount
    repairs: Amount
    repair_tokens: Amount
    versions: dict[str, int]
    listed: dict[str, Listed] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return dataclasses.asdict(self)

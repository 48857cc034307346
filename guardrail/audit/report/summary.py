"""Everything a report says, counted in one pass over records in bounded memory."""

from collections.abc import Iterable
from typing import Self

from guardrail.audit.report.sketch import Sketch
from guardrail.audit.report.tallies import ConversationTally, FailureTally, Leading, Tally, bounded
from guardrail.audit.report.timeline import Timeline
from guardrail.decision import Direction, Reason
from guardrail.errors import RecordError
from guardrail.records import Record
from guardrail.records.reading import moment

OFFSET_EDGES = (0, *(digit * 10**power for power in range(7) for digit in (1, 2, 5)))
"""First offset of each bin of stops, in characters; the last bin has no end."""

_STREAMED = (Direction.RESPONSE, Direction.TOOL_CALL)
"""Directions whose texts are stopped at a character; other texts are stopped whole."""

_COUNTS = ("leaked_chars", "unjudged_chars", "n_repairs", "n_repair_tokens")

NAMES_KEPT = 1000
CONVERSATIONS_KEPT = 20_000


class Summary:
    """Counts decisions. Summaries of parts can be merged; the order of records changes nothing but what `Leading` says.

    Attributes:
        n: records.
        n_timeless: records whose time cannot be read: they are counted everywhere but over time.
        total: all decisions.
        directions: decisions by direction.
        latencies: milliseconds in the guard, by direction.
        timeline: decisions and failures over time.
        categories: by direction and kind of harm.
        reasons: by direction and reason.
        failures: by kind.
        conversations: by tenant ("" without one) and conversation.
        n_alone: decisions that belong to no conversation.
        tenants: by tenant.
        tools: by tool.
        models: by name, engine, precision and hash.
        policies: by name and hash.
        stop_offsets: stops of answers and tool calls by a verdict, and what would have been one, by the last edge of
            `OFFSET_EDGES` that is not above their offset.
        offsets: of these stops, in characters.
        sums: characters, attempts and tokens, added up by field.
        n_having: records where that field is not 0.
        saved_tokens: at most so many tokens stopped LLMs would still have made.
        n_saving: stops that know it.
        versions: records by the schema version in which they were stored.
    """

    def __init__(self) -> None:
        self.n = 0
        self.n_timeless = 0
        self.total = Tally()
        self.directions: dict[Direction, Tally] = {}
        self.latencies: dict[Direction, Sketch] = {}
        self.timeline = Timeline()
        self.categories: Leading[Tally] = Leading(NAMES_KEPT, Tally)
        self.reasons: Leading[Tally] = Leading(NAMES_KEPT, Tally)
        self.failures: Leading[FailureTally] = Leading(NAMES_KEPT, FailureTally)
        self.conversations: Leading[ConversationTally] = Leading(CONVERSATIONS_KEPT, ConversationTally)
        self.n_alone = 0
        self.tenants: Leading[Tally] = Leading(NAMES_KEPT, Tally)
        self.tools: Leading[Tally] = Leading(NAMES_KEPT, Tally)
        self.models: Leading[Tally] = Leading(NAMES_KEPT, Tally)
        self.policies: Leading[Tally] = Leading(NAMES_KEPT, Tally)
        self.stop_offsets: dict[int, Tally] = {}
        self.offsets = Sketch()
        self.sums = dict.fromkeys(_COUNTS, 0)
        self.n_having = dict.fromkeys(_COUNTS, 0)
        self.saved_tokens = 0
        self.n_saving = 0
        self.versions: dict[int, int] = {}

    @classmethod
    def of(cls, records: Iterable[Record]) -> Self:
        """Return the summary of records."""
        summary = cls()
        for record in records:
            summary.add(record)
        return summary

    def add(self, record: Record) -> None:
        """Count a record."""
        time = _seconds(record)
        self.n += 1
        self.n_timeless += time is None
        self.total.add(record, time)
        self.directions.setdefault(record.direction, Tally()).add(record, time)
        self.latencies.setdefault(record.direction, Sketch()).add(record.latency_ms)
        if time is not None:
            self.timeline.add(record, time)
        self.versions[record.stored_version] = self.versions.get(record.stored_version, 0) + 1
        self._add_names(record, time)
        self._add_stop(record, time)
        for name in _COUNTS:
            if value := getattr(record, name):
                self.sums[name] += value
                self.n_having[name] += 1
        if record.saved_tokens is not None:
            self.saved_tokens += record.saved_tokens
            self.n_saving += 1

    def merge(self, other: Self) -> None:
        """Count what another summary has counted."""
        for name in ("n", "n_timeless", "n_alone", "saved_tokens", "n_saving"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("total", "timeline", "offsets", *_LEADING):
            getattr(self, name).merge(getattr(other, name))
        for name, empty in (("directions", Tally), ("latencies", Sketch), ("stop_offsets", Tally)):
            mine = getattr(self, name)
            for key, one in getattr(other, name).items():
                mine.setdefault(key, empty()).merge(one)
        for version, n in other.versions.items():
            self.versions[version] = self.versions.get(version, 0) + n
        for name in _COUNTS:
            self.sums[name] += other.sums[name]
            self.n_having[name] += other.n_having[name]

    def _add_names(self, record: Record, time: float | None) -> None:
        direction = record.direction.value
        self.reasons.add((direction, record.reason.value), record, time)
        if record.category is not None:
            self.categories.add((direction, bounded(record.category)), record, time)
        if record.failure:
            self.failures.add((bounded(record.failure.kind),), record, time)
        tenant = bounded(record.tenant or "")
        if record.conversation_id is None:
            self.n_alone += 1
        else:
            self.conversations.add((tenant, bounded(record.conversation_id)), record, time)
        self.tenants.add((tenant,), record, time)
        if record.tool is not None:
            self.tools.add((bounded(record.tool),), record, time)
        model = record.model, record.engine, record.precision, record.model_sha256
        self.models.add(tuple(map(bounded, model)), record, time)
        self.policies.add((bounded(record.policy), bounded(record.policy_sha256)), record, time)

    def _add_stop(self, record: Record, time: float | None) -> None:
        offset = record.stop_offset
        if offset is None or record.direction not in _STREAMED or record.reason is not Reason.VERDICT:
            return
        edge = max((one for one in OFFSET_EDGES if one <= offset), default=0)
        self.stop_offsets.setdefault(edge, Tally()).add(record, time)
        self.offsets.add(offset)


_LEADING = ("categories", "reasons", "failures", "conversations", "tenants", "tools", "models", "policies")


def _seconds(record: Record) -> float | None:
    """Return when a decision was made, seconds since the epoch; None where its time cannot be read."""
    try:
        return moment(record.time).timestamp()
    except (RecordError, OverflowError):
        return None

"""What is different between two decisions on one record, and which settings of a policy records cannot replay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from guardrail.actions import Action
from guardrail.audit.replay import ANSWERS, Gap, Recorded, Replayed, replay, unpacked
from guardrail.decision import Direction, Reason
from guardrail.errors import ContextOverflow
from guardrail.policy import OnStop, Policy, TooLong
from guardrail.records.record import Record


class Change(StrEnum):
    """How a decision differs from the one before; what is done counts, not its reason."""

    SAME = "same"
    NEWLY_STOPPED = "newly stopped"
    NO_LONGER_STOPPED = "no longer stopped"
    STOPPED_EARLIER = "stopped earlier"
    STOPPED_LATER = "stopped later"
    NEWLY_ASKED = "newly asks a person"
    NO_LONGER_ASKED = "no longer asks a person"
    NEWLY_FLAGGED = "newly flagged"
    NO_LONGER_FLAGGED = "no longer flagged"


_GAINED = {Action.STOP: Change.NEWLY_STOPPED, Action.ASK: Change.NEWLY_ASKED, Action.FLAG: Change.NEWLY_FLAGGED}
_LOST = {
    Action.STOP: Change.NO_LONGER_STOPPED,
    Action.ASK: Change.NO_LONGER_ASKED,
    Action.FLAG: Change.NO_LONGER_FLAGGED,
}


def change_of(before: Replayed, after: Replayed) -> Change:
    """Return what changed from one decision to another."""
    if before.action is not after.action:
        is_harder = after.action.rank > before.action.rank
        return _GAINED[after.action] if is_harder else _LOST[before.action]
    if after.action is not Action.STOP or before.stop_offset == after.stop_offset:
        return Change.SAME
    return Change.STOPPED_EARLIER if (after.stop_offset or 0) < (before.stop_offset or 0) else Change.STOPPED_LATER


@dataclass(frozen=True, slots=True)
class Compared:
    """One record under two policies.

    Attributes:
        record: which.
        before: what was decided, or what the policy that is compared with decides.
        after: what the new policy decides.
        change: between both.
        limits: settings by whose difference the answer may be another one; empty where what is told is exact.
        n_verdicts: positions that were judged.
    """

    record: Record
    before: Replayed
    after: Replayed
    change: Change
    limits: tuple[str, ...]
    n_verdicts: int

    def to_json(self) -> dict[str, Any]:
        """Return it without probabilities and text."""
        record = self.record
        named = ("id", "stream_id", "conversation_id", "tenant", "time", "direction", "tool", "policy", "policy_sha256")
        return {
            **{name: getattr(record, name) for name in named},
            "change": self.change.value,
            "before": _told(self.before),
            "after": _told(self.after),
            "unknown_from": self.after.unknown_from,
            "limits": list(self.limits),
        }


def _told(decision: Replayed) -> dict[str, Any]:
    named = ("action", "would_action", "reason", "risk", "category", "stop_offset", "released_chars")
    return {name: getattr(decision, name) for name in named}


class Comparison:
    """Compares policies record by record. Keeps nothing of the records; safe for many threads.

    Attributes:
        policy: the new one.
        against: the one it is compared with; None compares with what was decided.
    """

    def __init__(self, policy: Policy, against: Policy | None = None, known: Sequence[Policy] = ()) -> None:
        """Set up.

        Args:
            policy: the new one.
            against: the one it is compared with; None compares with what was decided.
            known: policies under which records may have been made, so that their settings can be compared.
        """
        self.policy, self.against = policy, against
        self._known = {one.sha256: one for one in (*known, policy, *([against] if against else []))}

    def compare(self, record: Record) -> Compared | Gap:
        """Return what becomes of a record, or why that cannot be said."""
        recorded = unpacked(record)
        if isinstance(recorded, Gap):
            return recorded
        before = replay(recorded, self.against) if self.against else Replayed.as_recorded(record)
        after = replay(recorded, self.policy)
        if isinstance(before, Gap):
            return before
        if isinstance(after, Gap):
            return after
        found = limits(recorded, self.policy, self._known)
        if self.against:
            found = tuple(dict.fromkeys((*found, *limits(recorded, self.against, self._known))))
        return Compared(record, before, after, change_of(before, after), found, len(recorded.positions))

    def is_known(self, policy_sha256: str) -> bool:
        """Whether the settings of the policy that a record was made under are at hand."""
        return policy_sha256 in self._known


def limits(recorded: Recorded, policy: Policy, known: Mapping[str, Policy]) -> tuple[str, ...]:
    """Return the settings that decide on this record and cannot be replayed.

    Args:
        recorded: a record.
        policy: the policy that is replayed.
        known: policies by hash; a record of another one is told by what stands in it alone.
    """
    record = recorded.record
    made_by = known.get(record.policy_sha256)
    if made_by == policy:
        return ()
    found = _limits_of_answers(recorded, policy, made_by) if record.direction in ANSWERS else []
    if made_by is None:
        return tuple(found)
    if record.direction is Direction.PROMPT and made_by.judge_system is not policy.judge_system:
        found.append("judge_system")
    if len(recorded.positions) and made_by.cascade != policy.cascade:
        found.append("cascade")
    if made_by.normalise != policy.normalise:
        found.append("normalise")
    return tuple(found)


def _limits_of_answers(recorded: Recorded, policy: Policy, made_by: Policy | None) -> list[str]:
    record, found = recorded.record, []
    was_too_long = record.failure is not None and record.failure.kind == ContextOverflow.__name__
    if (record.n_windows > 1 and policy.too_long is TooLong.STOP) or (
        was_too_long and policy.too_long is TooLong.SLIDE
    ):
        found.append("too_long")
    if record.reason is Reason.HELD or _may_hold(recorded, policy, made_by):
        found.append("max_held_chars")
    is_repaired_again = policy.on_stop is OnStop.REPAIR and record.action is Action.STOP
    if record.n_repairs or (is_repaired_again and made_by is not None and made_by.on_stop is not OnStop.REPAIR):
        found.append("repair")
    return found


def _may_hold(recorded: Recorded, policy: Policy, made_by: Policy | None) -> bool:
    """Whether an endless word may have been held that the policy of the record did not mind."""
    bound, old = policy.max_held_chars, made_by.max_held_chars if made_by else None
    return made_by is not None and bound is not None and recorded.n_chars > bound and (old is None or old > bound)

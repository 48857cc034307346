"""What is different between two decisions on one record."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from guardrail.actions import Action
from guardrail.audit.replay import Gap, Replayed, replay, unpacked
from guardrail.audit.replay_limits import limits
from guardrail.policy import Policy
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

"""What another policy would have done with what a record holds, without the model: by the functions that guards decide
by, fed with the recorded verdicts.

What was never read cannot be known: behind a real stop there are no verdicts, and of a tool that was trusted there are
none at all. What is returned says so.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

import numpy as np

from guardrail.actions import Action
from guardrail.audit.replay_filter import deciding
from guardrail.decision import INTERRUPTED, Direction, Failure, Reason
from guardrail.errors import RecordError
from guardrail.gate import Gate
from guardrail.policy import Policy, ReleaseMode
from guardrail.records.positions import Positions
from guardrail.records.record import Record
from guardrail.taxonomy import RiskLevel
from guardrail.tool_rules import Trust
from guardrail.weighing import applied, fail_gate, gate_for, gate_policy, rules_for, trust_for, weigh

ANSWERS = (Direction.RESPONSE, Direction.TOOL_CALL)
"""What is judged token by token; the other directions are judged as a whole."""

MAX_CHARS = 1 << 26
"""Longest text that is replayed: a filler stands for it, and a damaged number must not fill the memory. Our choice."""

_NOTHING = Positions.of(())


class Gap(StrEnum):
    """Why a record says nothing about another policy."""

    NO_POSITIONS = "no positions"
    NOT_READ = "was not read"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was, or would have been, decided.

    Attributes:
        action: what is done.
        would_action: what the rules ask for; differs from `action` only in shadow mode.
        reason: why.
        risk: level behind it; None when nothing was judged.
        category: kind of harm; None when the risk is Safe.
        stop_offset: first character that is (in shadow: would be) stopped; None without a stop.
        released_chars: characters passed on, at least so many where `unknown_from` is set; None where that would depend
            on the pieces in which the text came.
        unknown_from: first character behind what was read of an answer that was really stopped, or let pass unread;
            None where all of it is known.
    """

    action: Action
    would_action: Action
    reason: Reason
    risk: RiskLevel | None
    category: str | None
    stop_offset: int | None
    released_chars: int | None
    unknown_from: int | None = None

    @classmethod
    def as_recorded(cls, record: Record) -> Self:
        """Return what was decided."""
        return cls(
            record.action, record.would_action, record.reason, record.risk, record.category, record.stop_offset,
            record.released_chars,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recorded:
    """A record with its positions unpacked.

    Attributes:
        record: which.
        positions: all that was judged; none where nothing was.
    """

    record: Record
    positions: Positions

    @property
    def n_chars(self) -> int:
        """Characters that the guard had received."""
        return self.record.released_chars + self.record.withheld_chars

    @property
    def failure(self) -> Failure | None:
        """What failed."""
        failure = self.record.failure
        return Failure(failure.kind, failure.message) if failure else None

    @property
    def is_interrupted(self) -> bool:
        """Whether the caller went away in the middle of a call."""
        return self.record.failure is not None and self.record.failure.message == INTERRUPTED

    @property
    def is_abandoned(self) -> bool:
        """Whether an answer was given up: of one that ended nothing is withheld, unless it was stopped."""
        record = self.record
        return record.reason is Reason.ABANDONED or (record.action is not Action.STOP and record.withheld_chars > 0)

    @property
    def is_trusted(self) -> bool:
        """Whether a tool call passed unread."""
        return self.record.reason is Reason.RULE and self.record.would_action.rank < Action.ASK.rank

    @property
    def is_cut(self) -> bool:
        """Whether verdicts end before the answer did: it was stopped, or let go on unread."""
        record = self.record
        is_settled = record.reason in (Reason.HELD, Reason.UNREADABLE) and record.would_action is Action.STOP
        return record.action is Action.STOP or record.failure is not None or is_settled


def unpacked(record: Record) -> Recorded | Gap:
    """Return a record as it can be replayed, or why it cannot."""
    positions = _NOTHING
    if record.positions is not None:
        try:
            positions = Positions.from_bytes(record.positions)
        except RecordError:
            return Gap.DAMAGED
    elif record.risk_probabilities is not None:
        return Gap.NO_POSITIONS
    found = Recorded(record, positions)
    return found if _is_sound(found) else Gap.DAMAGED


def _is_sound(recorded: Recorded) -> bool:
    """Whether the numbers can be: no text of impossible length, no span behind it. `Positions` knows its own."""
    record, positions = recorded.record, recorded.positions
    if min(record.released_chars, record.withheld_chars) < 0 or recorded.n_chars > MAX_CHARS:
        return False
    return not len(positions) or bool(positions.end.max() <= recorded.n_chars)


def replay(recorded: Recorded, policy: Policy) -> Replayed | Gap:
    """Return what a policy makes of a record; of one made under this policy, what was decided."""
    if recorded.record.direction in ANSWERS:
        return _replay_answer(recorded, policy)
    return _replay_prompt(recorded, policy)


def _replay_prompt(recorded: Recorded, policy: Policy) -> Replayed | Gap:
    record, positions = recorded.record, recorded.positions
    verdicts = [positions.verdict(i) for i in range(len(positions))]
    unreadable, failure = record.unreadable, recorded.failure
    if trust_for(policy, record.direction, record.tool) is Trust.TRUSTED:
        verdicts, unreadable, failure = [], [], None
    elif not verdicts and failure is None:
        return Gap.NOT_READ
    if recorded.is_interrupted:  # nobody got a decision: whatever the policy says, nothing passed
        policy = replace(policy, on_failure=Action.STOP)
    weighed = weigh(policy, record.direction, verdicts, unreadable, failure)
    action, is_stop = applied(policy, weighed.would), weighed.would is Action.STOP
    released = 0 if action is Action.STOP else recorded.n_chars
    return Replayed(
        action, weighed.would, weighed.reason, weighed.risk, weighed.category, 0 if is_stop else None, released
    )


def _replay_answer(recorded: Recorded, policy: Policy) -> Replayed | Gap:
    record, n = recorded.record, len(recorded.positions)
    gate = gate_for(policy, record.direction, record.tool, record.unreadable)
    if recorded.is_trusted and not gate.is_settled:
        return Gap.NOT_READ
    _feed(gate, recorded)
    n_judged = 0 if gate.is_settled else judge_all(gate, recorded.positions, policy, record.direction)
    unknown_from = None if gate.is_stopped else _end(gate, recorded, policy)
    released: int | None = gate.released_chars
    mode = gate_policy(policy, record.direction).release
    if mode is ReleaseMode.OPTIMISTIC and gate.is_stopped and 0 < n_judged < n:
        released = None  # whatever had come by then: this depends on how the text was cut
    finding = gate.finding
    return Replayed(
        action=applied(policy, gate.would_action),
        would_action=gate.would_action,
        reason=gate.reason,
        risk=finding.risk if finding else RiskLevel.SAFE if n_judged else None,
        category=finding.category if finding else None,
        stop_offset=gate.stop_offset,
        released_chars=released,
        unknown_from=unknown_from,
    )


def _feed(gate: Gate, recorded: Recorded) -> None:
    """Feed a filler of the text's length. What a repaired answer had released before was not recorded apart: where it
    was stopped again, that is at most what had been released by then.
    """
    record = recorded.record
    n_replayed = record.released_chars if record.n_repairs and record.withheld_chars else 0
    if n_replayed:
        gate.replay("\0" * n_replayed)
    gate.feed("\0" * (recorded.n_chars - n_replayed))


def judge_all(gate: Gate, positions: Positions, policy: Policy, direction: Direction) -> int:
    """Give a gate the verdicts that can matter to it, in order; return how many were looked at."""
    must, clearing = deciding(rules_for(policy, direction), positions)
    for i in np.flatnonzero(must).tolist():
        if gate.finding and gate.finding.action is Action.STOP and not clearing[i]:
            continue  # shadow mode: the first stop counts, and only how far the text is judged goes on
        gate.judge(positions.token(i))
        if gate.is_settled:
            return i + 1
    return len(positions)


def _end(gate: Gate, recorded: Recorded, policy: Policy) -> int | None:
    """Let happen what ended the answer; return from where on nothing is known of it, if so."""
    record = recorded.record
    if recorded.is_interrupted:
        gate.fail(Reason.FAILURE, recorded.failure, Action.STOP)
        gate.take_back(record.released_chars)  # as in Answering: what the failure let out in shadow mode too
        if not gate.is_stopped:
            gate.abandon()
        return None
    if record.reason is Reason.HELD and policy.max_held_chars is not None:
        _hold(gate, policy)
    if failure := recorded.failure:
        fail_gate(gate, policy, failure)
    if gate.is_stopped:
        return None
    if recorded.is_cut and not gate.is_settled:
        return gate.judged_chars
    if recorded.is_abandoned:
        if gate.is_settled:
            gate.take_back(record.released_chars)
        gate.abandon()
    else:
        gate.finish()
    return recorded.n_chars if record.action is Action.STOP else None


def _hold(gate: Gate, policy: Policy) -> None:
    if policy.on_held is Action.STOP:
        gate.fail(Reason.HELD, None, Action.STOP)
    else:
        gate.mark(Reason.HELD)

"""What one check or stream needs of its guard, and what both uses of a guard share."""

from collections.abc import Callable
from dataclasses import dataclass

from guardrail.decision import Decision, Failure, Identity
from guardrail.engines.base import Engine
from guardrail.policy import Action, Policy


@dataclass(frozen=True, slots=True)
class Context:
    """What a stream or check needs of its guard.

    Attributes:
        engine: runs the model.
        policy: decides.
        identity: who decides, for records.
        stream_id: id of this stream or check.
        conversation_id: the caller's id; None when none was given.
        clock: monotonic seconds, for latency.
        wall_clock: seconds since the epoch, for records.
        new_id: makes a unique id.
        record: takes the final decision and the fed text.
    """

    engine: Engine
    policy: Policy
    identity: Identity
    stream_id: str
    conversation_id: str | None
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    new_id: Callable[[], str]
    record: Callable[[Decision, str], None]


def applied(policy: Policy, would_action: Action) -> Action:
    """Return what is done when the rules ask for `would_action`: shadow mode marks where it would have stopped."""
    return Action.FLAG if would_action is Action.STOP and not policy.enforce else would_action


def explain(error: Exception) -> Failure:
    """Return the record of an exception; messages of ours hold no user text."""
    return Failure(type(error).__name__, str(error))

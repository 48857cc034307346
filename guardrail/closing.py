"""What an adapter gives its caller behind what was released (`decisions.md` 7); the one place that says so."""

from guardrail.decision import Decision
from guardrail.errors import ContentStopped
from guardrail.policy import OnStop, Policy


def closing_text(policy: Policy, decision: Decision) -> str:
    """Return the text that follows a stop: the policy's message, or "" where what was released stands alone.

    Raises:
        ContentStopped: the policy raises.
    """
    if policy.on_stop is OnStop.RAISE:
        raise ContentStopped(decision)
    return "" if policy.on_stop is OnStop.TRUNCATE else policy.stop_message(decision.category)

"""What a client may know of a decision."""

from typing import Any

from guardrail.decision import Decision


def summary_of(decision: Decision) -> dict[str, Any]:
    """Return what a client may know of a decision; no text."""
    return {
        "decision_id": decision.id,
        "direction": decision.direction.value,
        "action": decision.action.value,
        "reason": decision.reason.value,
        "risk": decision.risk.value if decision.risk else None,
        "category": decision.category,
        "tool": decision.tool,
    }

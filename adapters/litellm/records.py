"""Decisions in the words of LiteLLM's own logging."""

from typing import Any

from litellm.types.utils import GuardrailStatus, GuardrailTracingDetail

from guardrail.decision import Decision
from guardrail.wire.exchange import refuses
from guardrail.wire.summary import summary_of

PROVIDER = "guardrail-stream"


def response_of(decision: Decision) -> dict[str, Any]:
    """Return what LiteLLM logs of a decision; no text."""
    identity = decision.identity
    return summary_of(decision) | {
        "conversation_id": decision.conversation_id,
        "stop_offset": decision.stop_offset,
        "released_chars": decision.released_chars,
        "withheld_chars": decision.withheld_chars,
        "n_repairs": decision.n_repairs,
        "failure": decision.failure.kind if decision.failure else None,
        "model": identity.model,
        "policy": identity.policy,
    }


def status_of(decision: Decision) -> GuardrailStatus:
    """Return a decision's status among those that LiteLLM knows."""
    if decision.failure:
        return "guardrail_failed_to_respond"
    if refuses(decision):
        return "guardrail_intervened"
    return "guardrail_flagged" if decision.flagged else "success"


def tracing_of(decision: Decision) -> GuardrailTracingDetail:
    """Return the details that LiteLLM's tracing shows."""
    verdict = decision.verdict
    return GuardrailTracingDetail(
        guardrail_id=decision.id,
        policy_template=decision.identity.policy,
        detection_method="token-level moderation",
        risk_score=verdict.non_safe_probability if verdict else None,
        violation_categories=[decision.category] if decision.category else [],
        guardrail_action=decision.action.value,
    )

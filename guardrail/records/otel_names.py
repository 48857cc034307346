"""Every name that the OpenTelemetry sink sends, in one place: the conventions for guardrails are still moving.

Three kinds. Our own, `guardrail.*`, are the record's fields and stay. Released ones of OpenTelemetry and OpenInference
are always sent. Those of OpenTelemetry's open proposal for guardrails (open-telemetry/semantic-conventions-genai, pull
request 427) are sent only if the user opts in, and may change with it.
"""

import os

from guardrail.actions import Action
from guardrail.decision import Decision, Direction
from guardrail.records.record import Record
from guardrail.records.signals import Value, flat_fields

SCOPE = "guardrail"
"""Name of the instrumentation, and of the evaluation."""
OWN = "guardrail."

ERROR_TYPE = "error.type"
EVENT = "gen_ai.evaluation.result"
EVALUATION_NAME = "gen_ai.evaluation.name"
SCORE_VALUE = "gen_ai.evaluation.score.value"
SCORE_LABEL = "gen_ai.evaluation.score.label"
EXPLANATION = "gen_ai.evaluation.explanation"
CONVERSATION_ID = "gen_ai.conversation.id"
TOOL_NAME = "gen_ai.tool.name"

OPENINFERENCE_KIND = "openinference.span.kind"
OPENINFERENCE_GUARDRAIL = "GUARDRAIL"
SESSION_ID = "session.id"
INPUT_VALUE = "input.value"
INPUT_MIME_TYPE = "input.mime_type"

OPT_IN_VARIABLE = "OTEL_SEMCONV_STABILITY_OPT_IN"
OPT_IN_VALUE = "gen_ai_latest_experimental"
OPERATION_NAME = "gen_ai.operation.name"
RUN_GUARDRAIL = "run_guardrail"
GUARDRAIL_NAME = "gen_ai.security.guardrail.name"
TARGET_TYPE = "gen_ai.security.target.type"
VERDICT_TYPE = "gen_ai.security.verdict.type"
ACTION_TYPE = "gen_ai.security.action.type"
POLICY_ID = "gen_ai.security.policy.id"
POLICY_NAME = "gen_ai.security.policy.name"
RISK_SCORE = "gen_ai.security.risk.score"

TARGETS = {
    Direction.PROMPT: "llm_input",
    Direction.RESPONSE: "llm_output",
    Direction.TOOL_CALL: "tool_call",
    Direction.TOOL_RESULT: "tool_result",
    Direction.DOCUMENT: "knowledge_result",
}
ACTIONS = {Action.ALLOW: "allow", Action.FLAG: "warn", Action.ASK: "ask", Action.STOP: "block"}


def is_opted_in() -> bool:
    """Whether the environment asks for names that are not released, in the way OpenTelemetry has it."""
    return OPT_IN_VALUE in [word.strip() for word in os.environ.get(OPT_IN_VARIABLE, "").split(",")]


def span_name(direction: Direction) -> str:
    """Return the span's name: the instrumentation and what was judged, so that there are few."""
    return f"{SCOPE} {direction}"


def span_attributes(record: Record, decision: Decision, *, experimental: bool) -> dict[str, Value]:
    """Return all attributes of the span."""
    found: dict[str, Value] = {OWN + name: value for name, value in flat_fields(record).items()}
    found[OPENINFERENCE_KIND] = OPENINFERENCE_GUARDRAIL
    if record.conversation_id is not None:
        found |= {CONVERSATION_ID: record.conversation_id, SESSION_ID: record.conversation_id}
    if record.tool is not None:
        found[TOOL_NAME] = record.tool
    if record.failure is not None:
        found[ERROR_TYPE] = record.failure.kind
    if record.text is not None:
        found |= {INPUT_VALUE: record.text, INPUT_MIME_TYPE: "text/plain"}
    return found | (_proposed(record, decision) if experimental else {})


def event_attributes(record: Record, decision: Decision) -> dict[str, Value]:
    """Return the attributes of the event: the verdict as an evaluation, and the record's id and action."""
    why = ", ".join(filter(None, [record.reason, record.category]))
    found: dict[str, Value] = {
        EVALUATION_NAME: SCOPE,
        EXPLANATION: f"{record.action}: {why}",
        **{f"{OWN}{name}": str(getattr(record, name)) for name in ("id", "direction", "action", "reason", "policy")},
    }
    if record.risk is not None:
        found[SCORE_LABEL] = record.risk.lower()
    if (score := _score(decision)) is not None:
        found[SCORE_VALUE] = score
    if record.failure is not None:
        found[ERROR_TYPE] = record.failure.kind
    return found


def _proposed(record: Record, decision: Decision) -> dict[str, Value]:
    found: dict[str, Value] = {
        OPERATION_NAME: RUN_GUARDRAIL,
        GUARDRAIL_NAME: record.model,
        TARGET_TYPE: TARGETS[record.direction],
        VERDICT_TYPE: ACTIONS[record.would_action],
        ACTION_TYPE: ACTIONS[record.action],
        POLICY_ID: record.policy_sha256,
        POLICY_NAME: record.policy,
    }
    score = _score(decision)
    return found if score is None else {**found, RISK_SCORE: score}


def _score(decision: Decision) -> float | None:
    """Return the probability of harm at the decisive token; None where nothing was measured."""
    verdict = decision.verdict
    return verdict.non_safe_probability if verdict and verdict.is_scored else None

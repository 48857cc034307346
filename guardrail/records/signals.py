"""What logs and traces carry of a decision: its record as flat fields, without text and vectors, and how loud it is."""

import logging
import re
from collections.abc import Iterator

from pydantic import BaseModel

from guardrail.actions import Action
from guardrail.decision import Decision
from guardrail.records.record import Record

Value = str | bool | int | float | tuple[str, ...]
"""What a log record and a span's attribute can both hold."""

FIELDS = (
    "schema_version", "id", "stream_id", "conversation_id", "time", "direction", "action", "would_action", "reason",
    "risk", "category", "risk_probabilities", "category_probabilities", "is_scored", "refusal", "stop_offset",
    "released_chars", "withheld_chars", "leaked_chars", "unjudged_chars", "n_tokens", "n_windows", "n_dropped_turns",
    "unreadable", "model", "model_sha256", "engine", "precision", "policy", "policy_sha256", "latency_ms", "failure",
    "tool", "n_deltas", "saved_tokens", "n_repairs", "n_repair_tokens", "tenant", "text_form", "text_hmac",
)  # fmt: skip
"""Fields of `Record` that are carried. Written out: a field that is added later stays behind until it is named here."""

LEFT_OUT = {
    "positions": "every token's probabilities: too large for a log line or a span; records keep them",
    "tokens": "the same once more",
    "text": "user text: never in a log, and in a span only if asked for",
}
"""Fields of `Record` that are not carried, and why."""

LEVELS = {
    Action.ALLOW: logging.INFO,
    Action.FLAG: logging.WARNING,
    Action.ASK: logging.WARNING,
    Action.STOP: logging.WARNING,
}


def flat_fields(record: Record) -> dict[str, Value]:
    """Return the carried fields by name; what a field holds inside is named behind a dot, what is None is left out."""
    return {key: value for name in FIELDS for key, value in _flat(name, getattr(record, name))}


def level_of(decision: Decision) -> int:
    """Return how loud a decision is, as a level of `logging`.

    A failure is an error whatever the policy made of it; what shadow mode would have stopped is flagged, hence as loud
    as a stop.
    """
    return LEVELS[decision.action] if decision.failure is None else logging.ERROR


def _flat(name: str, value: object) -> Iterator[tuple[str, Value]]:
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{_key(key)}", inner)
    elif isinstance(value, list):
        yield name, tuple(map(str, value))
    elif isinstance(value, str):
        yield name, str(value)  # plain: an enum's member is no attribute
    elif isinstance(value, bool | int | float):
        yield name, value


def _key(label: str) -> str:
    """Return a label as part of a name: "Sexual Content" becomes sexual_content."""
    return re.sub(r"\W+", "_", label.lower())

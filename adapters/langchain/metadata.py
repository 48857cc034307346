"""What an answer's last chunk says beside its text: the provider's metadata, and the guard's decisions."""

from collections.abc import Mapping
from typing import Any

from guardrail.adapters.langchain.exchange import refuses
from guardrail.decision import Decision
from guardrail.records import record_values

_KEPT_AT_STOP = {
    "model_name", "model", "model_provider", "id", "system_fingerprint", "service_tier", "created", "created_at",
    "output_version",
}  # fmt: skip
"""Metadata that stays after a stop; anything else might hold withheld text, or say that the answer ended well."""


def closing_metadata(
    metadata: Mapping[str, Any], decision: Decision, calls: Mapping[str, Decision] | None = None
) -> dict[str, Any]:
    """Return an answer's metadata with the decisions; after a stop with our finish reason and without copies of text.

    Args:
        metadata: the provider's.
        decision: on the answer.
        calls: decisions on its tool calls, by their ids.
    """
    if refuses(decision):
        return {**kept_at_stop(metadata), "finish_reason": "content_filter", "guardrail": record_values(decision)}
    earlier = metadata.get("guardrail")
    if isinstance(earlier, Mapping) and earlier.get("action") == "stop":
        return dict(metadata)  # a guard inside this one stopped the answer: that decision stands
    judged = {name: record_values(one) for name, one in (calls or {}).items()}
    found = {"guardrail": record_values(decision)} | ({"guardrail_calls": judged} if judged else {})
    return {**metadata, **found}


def closing_info(info: Mapping[str, Any], decision: Decision) -> dict[str, Any] | None:
    """Return generation_info likewise; it is merged below the metadata by the core."""
    return (kept_at_stop(info) if refuses(decision) else dict(info)) or None


def kept_at_stop(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an answer's metadata that cannot hold its text."""
    return {key: value for key, value in metadata.items() if key in _KEPT_AT_STOP}

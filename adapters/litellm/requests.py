"""What LiteLLM says of a request besides what is asked: whose it is, and of which conversation."""

from collections.abc import Mapping
from typing import Any

from guardrail.guard import Guard
from guardrail.wire.asked import Asked, max_tokens
from guardrail.wire.exchange import Exchange


def exchange_of(guard: Guard, data: Mapping[str, Any]) -> Exchange:
    """Return the exchange that a request begins."""
    asked = Asked.of(data)
    messages = tuple(asked.messages)
    return Exchange(guard, messages, conversation_id(data), tenant(data), max_tokens(data), asked.n_choices)


def conversation_id(data: Mapping[str, Any]) -> str | None:
    """Return the session's id if the client named one, else the call's."""
    buckets = [data.get(name) for name in ("metadata", "litellm_metadata")]
    sessions = [bucket.get("session_id") for bucket in buckets if isinstance(bucket, Mapping)]
    known = (data.get("litellm_session_id"), *sessions, data.get("litellm_trace_id"), data.get("litellm_call_id"))
    return next((str(one) for one in known if one), None)


def tenant(data: Mapping[str, Any]) -> str | None:
    """Return whose request the proxy says it is: a team's, else a user's, else a key's; None outside of the proxy.

    What a client writes under these names the proxy strips before it sets them.
    """
    places = [data, data.get("litellm_params") or {}]
    buckets = [place.get(name) or {} for place in places for name in ("litellm_metadata", "metadata")]
    for kind in ("team_id", "user_id", "hash"):
        known = (bucket.get(f"user_api_key_{kind}") for bucket in buckets if isinstance(bucket, Mapping))
        if found := next(filter(None, known), None):
            return f"{kind} {found}"
    return None

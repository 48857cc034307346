"""The output rail of the NeMo side: asks the same guard model, about the chunk that NeMo hands over."""

import os
from typing import Any

import httpx
from nemoguardrails.actions import action
from nemoguardrails.actions.rail_outcome import RailOutcome

_client = httpx.AsyncClient(timeout=60)


@action(is_system_action=True)
async def moderate_output(text: str, context: dict[str, Any] | None = None, **_: Any) -> RailOutcome:
    """Tell whether the text may be shown."""
    asked = (context or {}).get("user_message") or "?"
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": text}]
    answer = await _client.post(f"{os.environ['GUARD_URL']}/v1/moderations", json={"messages": messages})
    answer.raise_for_status()
    return RailOutcome.block() if answer.json()["results"][0]["flagged"] else RailOutcome.allow()

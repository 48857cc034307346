"""The output rail of the NeMo side: asks the same guard model, about the chunk that NeMo hands over."""

import os

import httpx
from nemoguardrails.actions import action

_client = httpx.AsyncClient(timeout=60)


@action(is_system_action=True, output_mapping=lambda is_allowed: not is_allowed)
async def moderate_output(context: dict | None = None) -> bool:
    """Return whether the text may be shown."""
    said = context or {}
    messages = [
        {"role": "user", "content": said.get("user_message") or ""},
        {"role": "assistant", "content": said.get("bot_message") or ""},
    ]
    answer = await _client.post(f"{os.environ['GUARD_URL']}/v1/moderations", json={"messages": messages})
    answer.raise_for_status()
    return not answer.json()["results"][0]["flagged"]

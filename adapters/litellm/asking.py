"""Asks the LLM of a request again, behind what it has said."""

from collections.abc import Mapping, Sequence
from typing import Any

import litellm
from litellm.constants import OPENAI_CHAT_COMPLETION_PARAMS

_SAID = ("messages", "stream")


def repeated(data: Mapping[str, Any], more: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a request with more messages; LiteLLM does not log it, only its cost: its text may still be withheld."""
    kept = {name: data[name] for name in OPENAI_CHAT_COMPLETION_PARAMS if name in data and name not in _SAID}
    metadata = data.get("metadata") or {}
    owners = {name: value for name, value in metadata.items() if name.startswith("user_api_key")}
    return {
        **kept, "model": data["model"], "messages": [*data["messages"], *more], "metadata": owners, "no-log": True,
    }  # fmt: skip


async def ask_router(data: Mapping[str, Any], more: Sequence[Mapping[str, Any]], *, stream: bool) -> Any:
    """Ask through the proxy's router."""
    from litellm.proxy.proxy_server import llm_router

    ask = llm_router.acompletion if llm_router else litellm.acompletion
    return await ask(**repeated(data, more), stream=stream)

# ruff: noqa: ARG002 - signatures are LiteLLM's
"""Custom guardrails for LiteLLM's proxy that block by `apply_guardrail`, one for each way LiteLLM can stream them."""

from typing import Any

from fastapi import HTTPException
from litellm.integrations.custom_guardrail import CustomGuardrail
from rule import is_forbidden


async def refuse_forbidden(inputs: Any) -> Any:
    """Raise what LiteLLM turns into a block when the word is there."""
    if is_forbidden(" ".join(inputs.get("texts") or [])):
        raise HTTPException(status_code=400, detail={"error": "blocked"})
    return inputs


class Default(CustomGuardrail):
    """LiteLLM's defaults: the text so far is scanned at every fifth chunk, chunks leave meanwhile."""

    async def apply_guardrail(self, inputs: Any, request_data: Any, input_type: Any, logging_obj: Any = None) -> Any:
        """Block."""
        return await refuse_forbidden(inputs)


class Buffered(CustomGuardrail):
    """The whole answer is held until it has been scanned."""

    streaming_buffer_until_moderated = True

    async def apply_guardrail(self, inputs: Any, request_data: Any, input_type: Any, logging_obj: Any = None) -> Any:
        """Block."""
        return await refuse_forbidden(inputs)


class Held(CustomGuardrail):
    """Every chunk is held until the text so far has been scanned."""

    streaming_sampling_rate = 1
    streaming_buffer_until_moderated = True
    streaming_buffer_release_on_scan = True

    async def apply_guardrail(self, inputs: Any, request_data: Any, input_type: Any, logging_obj: Any = None) -> Any:
        """Block."""
        return await refuse_forbidden(inputs)

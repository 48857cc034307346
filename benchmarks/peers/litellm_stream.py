"""LiteLLM: a guardrail of one's own behind the proxy's stream hook, without the proxy's HTTP around it."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import HTTPException
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.proxy._types import UserAPIKeyAuth
from litellm.proxy.guardrails.guardrail_hooks.unified_guardrail.unified_guardrail import UnifiedLLMGuardrails
from litellm.types.utils import Delta, ModelResponseStream, StreamingChoices


class Word(CustomGuardrail):
    """Asks the rule."""

    def __init__(self, rule: Any) -> None:
        """Take the rule."""
        super().__init__(guardrail_name="peer", event_hook="post_call", default_on=True)
        self._rule = rule

    async def apply_guardrail(self, inputs: Any, request_data: Any, input_type: Any, logging_obj: Any = None) -> Any:  # noqa: ARG002
        """Raise what LiteLLM turns into a block when the word is there."""
        if self._rule.forbids(" ".join(inputs.get("texts") or [])):
            raise HTTPException(status_code=400, detail={"error": "blocked"})
        return inputs


class Held(Word):
    """Every chunk is held until the text so far has been scanned."""

    streaming_sampling_rate = 1
    streaming_buffer_until_moderated = True
    streaming_buffer_release_on_scan = True


async def default(llm: Any, rule: Any) -> AsyncIterator[str]:
    """The defaults: the text so far is scanned at every fifth chunk, chunks leave meanwhile."""
    async for piece in _shown(llm, Word(rule)):
        yield piece


async def held(llm: Any, rule: Any) -> AsyncIterator[str]:
    """Nothing leaves before a scan."""
    async for piece in _shown(llm, Held(rule)):
        yield piece


async def _chunks(llm: Any) -> AsyncIterator[ModelResponseStream]:
    async for piece in llm.stream():
        yield ModelResponseStream(choices=[StreamingChoices(index=0, delta=Delta(content=piece))])
    yield ModelResponseStream(choices=[StreamingChoices(index=0, delta=Delta(), finish_reason="stop")])


async def _shown(llm: Any, guardrail: CustomGuardrail) -> AsyncIterator[str]:
    caller = UserAPIKeyAuth(request_route="/v1/chat/completions")
    hook = UnifiedLLMGuardrails().async_post_call_streaming_iterator_hook
    async for chunk in hook(caller, _chunks(llm), {"metadata": {}}, guardrail_to_apply=guardrail):
        if not isinstance(chunk, ModelResponseStream):
            raise Blocked
        yield chunk.choices[0].delta.content or ""


class Blocked(Exception):
    """The guardrail stopped the stream: the proxy sends an error event."""

"""Whole answers as LiteLLM has them: objects, or dicts in Anthropic's format."""

import json
from collections.abc import MutableMapping
from functools import partial
from typing import Any

from litellm.types.llms.openai import ResponsesAPIResponse
from litellm.types.utils import EmbeddingResponse, ModelResponse, ModelResponseStream, TextCompletionResponse

from guardrail.adapters.litellm.wire import Held, dumped
from guardrail.conversation import ToolCall
from guardrail.decision import Decision
from guardrail.waiting import Steps, Wait
from guardrail.wire import wholes
from guardrail.wire.errors import NotUnderstood
from guardrail.wire.exchange import Exchange
from guardrail.wire.summary import summary_of
from guardrail.wire.wholes import AskAgain, Part, Whole, is_changed

_HARMLESS = (EmbeddingResponse,)
"""Answers without a text."""

_READ = (ModelResponse, TextCompletionResponse, ResponsesAPIResponse)


def judging(exchange: Exchange, response: Any, ask_again: AskAgain | None = None) -> Steps[list[Decision]]:
    """Judge the answers in a response, which are cut in place to what may be seen.

    Args:
        exchange: that the response answers.
        response: the response.
        ask_again: asks the LLM to go on with a chat completion's only answer; None cannot repair it.

    Raises:
        NotUnderstood: it is of no format that the guard reads.
    """
    if isinstance(response, _HARMLESS):
        return []
    if isinstance(response, dict) and response.get("type") == "message":
        return (yield from wholes.judging(exchange, response, read=lambda held: [_messages(held)]))
    if not isinstance(response, _READ) or isinstance(response, ModelResponseStream):
        raise NotUnderstood(f"the answer, {type(response).__name__}, is of no format that it can read")
    held = dumped(response)
    again = None if ask_again is None else lambda more: _dumping(ask_again(more))
    decisions: list[Decision] = yield from wholes.judging(exchange, held, again)
    if any(map(is_changed, decisions)):
        _put_back(response, held)
    return decisions


def _dumping(asked: Wait) -> Wait:
    async def acall() -> Held:
        return dumped(await asked.acall())

    return Wait(lambda: dumped(asked.call()), acall)


def _put_back(response: Any, held: Held) -> None:
    """Make an object say what its JSON says now."""
    for choice in held.get("choices") or ():
        if (summary := choice.pop("guardrail", None)) and "message" in choice:
            choice["message"]["provider_specific_fields"] = {"guardrail": summary}
    made = type(response)(**held)
    for name in set(response.model_extra or ()) - set(made.model_extra or ()):
        delattr(response, name)
    for name, value in made:
        setattr(response, name, value)


_BLOCK = ("type", "signature")


def _messages(response: MutableMapping[str, Any]) -> Whole:
    def cut(closing: str, decision: Decision) -> None:
        kept = [block for block in response["content"] if block["type"] in ("text", "thinking")]
        kept = [{name: block[name] for name in (*_BLOCK, block["type"]) if name in block} for block in kept]
        kept = [block for block in kept if block[block["type"]]]
        response["content"] = [{"type": "text", "text": closing}] if closing else kept
        response.update(stop_reason="refusal", stop_sequence=None, guardrail=summary_of(decision))

    whole = Whole(cut)
    for block in response.get("content") or ():
        kind = block.get("type")
        if kind in ("text", "thinking"):
            whole.parts.append(Part(block[kind], kind == "thinking", partial(block.__setitem__, kind)))
        elif kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
            whole.calls.append(ToolCall(block["name"], json.dumps(block.get("input"), ensure_ascii=False)))
        elif kind != "redacted_thinking":
            raise NotUnderstood(f"a content block is of the unknown type {kind!r}")
    return whole

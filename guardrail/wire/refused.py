"""What answers a prompt that was stopped, in the format that was asked for; the LLM never hears of it."""

from enum import StrEnum
from typing import Any

from guardrail.decision import Decision
from guardrail.wire.chat import ChatGate
from guardrail.wire.exchange import Exchange
from guardrail.wire.responses import ResponsesGate
from guardrail.wire.wholes import wholes_of


class Format(StrEnum):
    """OpenAI's formats, by the paths of their endpoints."""

    CHAT = "chat/completions"
    TEXT = "completions"
    RESPONSES = "responses"


_MAX_CHOICES = 128
"""Most choices that are answered, however many were asked for: OpenAI's own bound."""

_CHUNKS = {Format.CHAT: "chat.completion.chunk", Format.TEXT: "text_completion"}


def refused(form: Format, exchange: Exchange, decision: Decision, model: str, created: int) -> dict[str, Any]:
    """Return the whole answer: an empty one, or the policy's message, with the stop's summary.

    Args:
        form: that was asked for.
        exchange: that ends here.
        decision: the stop.
        model: that was asked for.
        created: Unix time in seconds.
    """
    answer = _blank(form, exchange.n_choices, decision, model, created)
    for whole in wholes_of(answer):
        whole.cut(exchange.closing_text(decision), decision)
    return answer


def refused_stream(
    form: Format, exchange: Exchange, decision: Decision, model: str, created: int
) -> list[dict[str, Any]]:
    """As `refused`, in the pieces of a stream."""
    blank = _blank(form, exchange.n_choices, decision, model, created)
    if form is Format.RESPONSES:
        return ResponsesGate(exchange).refusing(blank, decision)
    return ChatGate(exchange).refusing({**blank, "object": _CHUNKS[form]}, decision)


def _blank(form: Format, n_choices: int, decision: Decision, model: str, created: int) -> dict[str, Any]:
    if form is Format.RESPONSES:
        return {
            "id": f"resp_{decision.id}", "object": "response", "created_at": created, "status": "in_progress",
            "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "model": model,
            "output": [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": None,
        }  # fmt: skip
    said: dict[str, Any] = {"text": ""} if form is Format.TEXT else {"message": {"role": "assistant", "content": ""}}
    return {
        "id": f"{'cmpl' if form is Format.TEXT else 'chatcmpl'}-{decision.id}",
        "object": "text_completion" if form is Format.TEXT else "chat.completion",
        "created": created,
        "model": model,
        "choices": [
            {"index": i, **said, "logprobs": None, "finish_reason": None} for i in range(min(n_choices, _MAX_CHOICES))
        ],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }

"""What LiteLLM logs of a stream that was cut: the text that was released, never the rest."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from litellm import token_counter
from litellm.types.utils import Choices, Message, ModelResponse, Usage

from guardrail.adapters.litellm.requests import exchange_of
from guardrail.adapters.litellm.wholes import judging
from guardrail.decision import Decision
from guardrail.guard import Guard
from guardrail.waiting import Steps
from guardrail.wire.admission import KeptResults, admitting
from guardrail.wire.asked import Asked
from guardrail.wire.errors import NotUnderstood
from guardrail.wire.gate import Gate


def shadow_of(guard: Guard) -> Guard:
    """Return a guard that judges and records as this one, and never stops."""
    return guard.with_policy(replace(guard.policy, enforce=False))


def judging_logged(shadow: Guard, kwargs: Mapping[str, Any], result: Any) -> Steps[list[Decision]]:
    """Judge the prompt and the answers of a call that LiteLLM logs; answers in no known format are left out."""
    said = kwargs.get("messages")
    asked = {"messages" if isinstance(said, list) else "input": said}
    others = {name: value for name, value in kwargs.items() if name not in ("messages", "input", "prompt")}
    exchange = exchange_of(shadow, {**others, **asked})
    admission = yield from admitting(exchange, asked, KeptResults(), replaces=False)
    whole = kwargs.get("async_complete_streaming_response") or kwargs.get("complete_streaming_response") or result
    try:
        answers = yield from judging(exchange, getattr(whole, "response", None) or whole)  # or a stream's last event
    except NotUnderstood:
        answers = []
    return [*admission.decisions, *answers]


def count_usage(data: Mapping[str, Any], gate: Gate) -> Usage:
    """Return the tokens of a request and of all that the LLM wrote, as LiteLLM counts them."""
    model = str(data.get("model") or "")
    asked = "\n".join(message.content for message in Asked.of(data).messages)
    received = "".join(answer.received for answer in gate.answers.values())
    n_asked, n_received = token_counter(model=model, text=asked), token_counter(model=model, text=received)
    return Usage(prompt_tokens=n_asked, completion_tokens=n_received, total_tokens=n_asked + n_received)


async def log_cut(data: Mapping[str, Any], gate: Gate, usage: Usage) -> None:
    """Log what was released of a cut stream, before the stream is closed.

    LiteLLM takes one log of a stream, the first: whatever it puts together itself, also when its stream is closed,
    would hold what was withheld; a closed chat stream would not be logged at all, and its tokens not counted.
    """
    logging = data.get("litellm_logging_obj")
    if logging is None:
        return
    for one in getattr(logging, "_deferred_stream_complete_args", None) or ():
        if asyncio.iscoroutine(one):
            one.close()
    logging._on_deferred_stream_complete = None
    logging._deferred_stream_complete_args = None
    await logging.dispatch_success_handlers(_released(data, gate, usage), prefer_async_handlers=True)


def _released(data: Mapping[str, Any], gate: Gate, usage: Usage) -> ModelResponse:
    choices = []
    for index, answer in gate.answers.items():
        content = "".join(text for text, thinking in answer.released if not thinking)
        reason = "content_filter" if answer.is_stopped else "stop"
        choices.append(Choices(index=index, message=Message(content=content), finish_reason=reason))
    return ModelResponse(model=data.get("model"), choices=choices, usage=usage)

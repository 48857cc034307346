"""Reads the answers of OpenAI-compatible servers: samples, thinking, tokens, in the ways that servers write them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from guardrail.errors import CallRefused
from guardrail.json_text import well_formed
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.recipe.sent import ended, split_thinking, without_control_tokens

_THINKING = ("reasoning_content", "reasoning")
"""Names that servers have for it."""


class Unreadable(Exception):
    """An answer is not that of an OpenAI-compatible server."""


def read_answer(answer: object, call: Call) -> Reply:
    """Return the samples of an answer, at least one, in the order of their index.

    Args:
        answer: JSON, or its text where the server did not mark it as JSON.
        call: what was asked.

    Raises:
        Unreadable: it holds no samples.
        CallRefused: the server's filter left a sample out.
    """
    try:
        found: Any = json.loads(answer) if isinstance(answer, str) else answer
        choices = sorted(found["choices"], key=lambda choice: choice.get("index") or 0)
        texts = tuple(_sample(choice, call) for choice in choices)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise Unreadable("the answer is not that of an OpenAI-compatible server") from error
    if not texts:
        raise Unreadable("the answer holds no sample")
    usage = found.get("usage")
    return Reply(texts, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


def _sample(choice: Mapping[str, Any], call: Call) -> Text:
    if choice.get("finish_reason") == "content_filter":
        raise CallRefused("the server's filter held a sample back")
    thinking, text = _said(choice["message"]) if call.form == "chat" else (None, choice["text"])
    if not isinstance(text, str) or not isinstance(thinking, str | None):
        raise TypeError("a sample is no text")
    if call.form == "guard":
        text = without_control_tokens(text)
    text, has_ended = ended(well_formed(text), call.stop)
    is_cut = choice.get("finish_reason") == "length" and not has_ended
    return Text(text, well_formed(thinking) if thinking else None, is_cut)


def _said(message: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the thinking, None if there is none, and the text of a message; a refusal is a text too."""
    texts: Sequence[Any] = [message.get(name) for name in ("content", "refusal")]
    text = next((one for one in texts if one), "")
    thinking = next((one for name in _THINKING if (one := message.get(name))), None)
    if thinking is None and isinstance(text, str):
        return split_thinking(text)
    return thinking, text


def _count(usage: Any, name: str) -> int:
    """Return a number of tokens; 0 where the server gives none."""
    value = usage.get(name) if isinstance(usage, Mapping) else 0
    return value if isinstance(value, int) and value > 0 else 0

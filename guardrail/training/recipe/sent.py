"""What of a call is sent to a language model, and what of its text is the answer; the same for servers and for models
that run here.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from guardrail.conversation import Message, Role, render_tool_call
from guardrail.generative.endpoint import STOP, prompt_text
from guardrail.generative.template import text_of
from guardrail.generative.turns import context_turns, prompt_turns, response_turn
from guardrail.json_text import well_formed

_OPEN, _CLOSE = "<think>", "</think>"


def chat_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return a conversation in OpenAI's form; thinking is left out, as chat templates leave it out of history."""
    sent: list[dict[str, Any]] = []
    ids: list[str] = []
    for i, message in enumerate(messages):
        one: dict[str, Any] = {"role": message.role.value, "content": well_formed(message.content)}
        if message.tool_calls:
            one["tool_calls"] = [
                {"id": f"call-{i}-{j}", "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for j, c in enumerate(message.tool_calls)
            ]
            ids += [call["id"] for call in one["tool_calls"]]
        if message.role is Role.TOOL:  # results come in the order of their calls
            one["tool_call_id"] = ids.pop(0) if ids else f"call-{i}"
        sent.append(one)
    return sent


def guard_prompt(messages: Sequence[Message]) -> str:
    """Return the prompt of Qwen3Guard-Gen that asks about the last turn: an answer, or else a query."""
    last = messages[-1]
    if last.role is not Role.ASSISTANT:
        return prompt_text(prompt_turns(messages))
    answer = "\n".join([last.content, *(text_of(render_tool_call(call)) for call in last.tool_calls)])
    return prompt_text([*context_turns(messages[:-1]), response_turn(last.reasoning or "", answer)])


def split_thinking(text: str) -> tuple[str | None, str]:
    """Return the thinking at the start of a text, None if there is none, and the answer behind it.

    The opening tag may be missing, since templates may have written it; an open block is all thinking.
    """
    before, is_closed, after = text.partition(_CLOSE)
    has_opening = before.lstrip().startswith(_OPEN)
    if not has_opening and (not is_closed or _OPEN in before):
        return None, text
    thinking = before.lstrip().removeprefix(_OPEN) if has_opening else before
    return thinking.strip() or None, after.lstrip()


def ended(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Return a text up to the first of the texts that end it, and whether there was one; some servers show it."""
    places = [place for one in stop if one and (place := text.find(one)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def without_control_tokens(text: str) -> str:
    """Return what a guard wrote, without the token that ends it."""
    for name in STOP:
        text = text.removesuffix(name)
    return text


def seed_of(key: bytes) -> int:
    """Return the seed of a request, 31 bits: drawn by its key, so that the same call gives the same text wherever seeds
    are heeded.
    """
    return int.from_bytes(hashlib.sha256(key).digest()[:4], "big") >> 1

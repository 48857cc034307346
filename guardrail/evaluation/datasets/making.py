"""Rows with a binary label: of one user message, or of the last answer of a conversation."""

from collections.abc import Iterable, Mapping
from typing import Any

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.evaluation.rows import Row
from guardrail.taxonomy import RiskLevel

HARM_WORDS = {"harmful": True, "unharmful": False}
SAFETY_WORDS = {"unsafe": True, "safe": False}
REFUSAL_WORDS = {"refusal": True, "compliance": False}


def prompt_row(
    text: str,
    is_harmful: bool | None,
    *,
    lang: str = "en",
    categories: Iterable[str] = (),
    meta: Mapping[str, Any] | None = None,
) -> Row | None:
    """Return the row of a user message; None when it has no label or no text. Categories are of harmful rows only."""
    if is_harmful is None or not text.strip():
        return None
    messages = (Message(Role.USER, text),)
    kinds = _named(is_harmful, categories)
    return Row("", "", lang, messages, Direction.PROMPT, _risk(is_harmful), kinds, meta=dict(meta or {}))


def response_row(
    conversation: tuple[Message, ...],
    is_harmful: bool | None,
    *,
    lang: str = "en",
    categories: Iterable[str] = (),
    refusal: bool | None = None,
    meta: Mapping[str, Any] | None = None,
    part: str = "",
) -> Row | None:
    """Return the row of the last answer; None when that has no label or no text.

    Args:
        conversation: ends with the answer.
        is_harmful: the label.
        lang: language code.
        categories: kinds of harm; of harmful rows only.
        refusal: whether the answer refuses.
        meta: what else the source tells.
        part: which of its entry's rows it is; empty when it is the only one.
    """
    if is_harmful is None or not conversation[-1].content.strip():
        return None
    kinds = _named(is_harmful, categories)
    return Row(
        part, "", lang, conversation, Direction.RESPONSE, _risk(is_harmful), kinds, refusal, meta=dict(meta or {})
    )


def turn(prompt: str, answer: str) -> tuple[Message, ...]:
    """Return a user message and its answer as a conversation."""
    return (Message(Role.USER, prompt), Message(Role.ASSISTANT, answer))


def _risk(is_harmful: bool) -> RiskLevel:
    return RiskLevel.UNSAFE if is_harmful else RiskLevel.SAFE


def _named(is_harmful: bool, categories: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(str, categories))) if is_harmful else ()

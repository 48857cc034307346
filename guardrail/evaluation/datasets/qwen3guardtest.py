"""Reader of Qwen3GuardTest.

Its indices are absolute positions in the ids of the conversation in Qwen3's chat template, inclusive on both ends, and
cover the first unsafe sentence; they and the ids stay in a row's `meta` under the source's names, where
`spans.risky_span` makes characters of them.
"""

from collections.abc import Mapping
from typing import Any

from guardrail.conversation import Message, Role
from guardrail.evaluation.datasets.fields import Fields
from guardrail.evaluation.datasets.making import SAFETY_WORDS, response_row
from guardrail.evaluation.rows import Row
from guardrail.taxonomy import Category, category_name

_KNOWN = {category.value for category in Category}


def thinking(entry: Fields) -> list[Row | None]:
    """Return the answer with its reasoning: the thinking tags stay in the text, as published, and the label is of both.

    Raises:
        ValueError: a message is not one, the last is not the assistant's, or the indices are none of the ids.
    """
    return [_row(entry, "en")]


def response(entry: Fields) -> list[Row | None]:
    """Return the last answer of the conversation, whose language the source does not tell.

    Raises:
        ValueError: as `thinking`.
    """
    return [_row(entry, "und")]


def _row(entry: Fields, lang: str) -> Row | None:
    messages = tuple(_message(n, message) for n, message in enumerate(entry.items("message")))
    if not messages or messages[-1].role is not Role.ASSISTANT:
        raise ValueError("message: the last one must be the assistant's")
    kinds = _kinds(entry.text("unsafe_type")) if "unsafe_type" in entry else []
    meta = {**entry.kept("unique_id", "source", "unsafe_type"), **_position(entry)}
    return response_row(messages, entry.label("label", SAFETY_WORDS), lang=lang, categories=kinds, meta=meta)


def _kinds(unsafe_type: str) -> list[str]:
    names = (category_name(name.strip()) for name in unsafe_type.split(","))
    return [name for name in names if name in _KNOWN]


def _message(number: int, message: Any) -> Message:
    if not isinstance(message, Mapping):
        raise ValueError(f"message.{number}: expected an object")
    fields = Fields(message)
    role = fields.text("role")
    if role not in list(Role):
        raise ValueError(f"message.{number}.role: unknown; valid: {', '.join(Role)}")
    return Message(Role(role), fields.text("content"))


def _position(entry: Fields) -> dict[str, Any]:
    """Return the ids and both indices as meta holds them; nothing where the split has none."""
    ids = list(entry.items("input_ids")) if "input_ids" in entry else []
    if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in ids):
        raise ValueError("input_ids: expected a list of token ids")
    found: dict[str, Any] = {"input_ids": ids} if ids else {}
    for key in ("unsafe_start_index", "unsafe_end_index"):
        index = entry.whole(key) if key in entry else None
        if index is not None and not 0 <= index < len(ids):
            raise ValueError(f"{key}: {index} is no position of the {len(ids)} input_ids")
        found |= {key: index} if index is not None else {}
    start, end = found.get("unsafe_start_index"), found.get("unsafe_end_index")
    if (start is None) != (end is None) or (start is not None and end is not None and start > end):
        raise ValueError("unsafe_start_index: must stand with unsafe_end_index, and not behind it")
    return found

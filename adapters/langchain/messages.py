"""Translates LangChain messages into the guard's, and whatever a chain passes on into messages."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.prompt_values import PromptValue

from guardrail.conversation import Message, Role, ToolCall
from guardrail.errors import ConversationError

_ROLES: tuple[tuple[type[BaseMessage], Role], ...] = (
    (SystemMessage, Role.SYSTEM),
    (HumanMessage, Role.USER),
    (AIMessage, Role.ASSISTANT),
    (ToolMessage, Role.TOOL),
    (FunctionMessage, Role.TOOL),
)
_CHAT_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "human": Role.USER,
    "assistant": Role.ASSISTANT,
    "ai": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
CALL_BLOCKS = {
    "tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "input_json_delta", "function_call",
    "custom_tool_call",
}  # fmt: skip
"""Blocks that hold a call, or a piece of one, mostly again beside `tool_calls`."""

THINKING_BLOCKS = {"reasoning", "thinking", "reasoning_content"}
"""Blocks whose text is reasoning, in the spellings of the providers."""

TEXT_KEYS = ("text", "thinking", "reasoning", "refusal")
NESTED_KEYS = ("summary", "content", "reasoning_content")
"""Where a block keeps its text: directly, or in parts below these keys."""


_NAMES = {"type", "id", "index", "mime_type", "media_type", "source_type", "detail"}
"""Keys of blocks whose values are no text."""

_MEDIA = {"image", "image_url", "audio", "input_audio", "video", "file", "base64", "url"}
"""Types of blocks, and of sources inside them, that hold something else than text."""

_MEDIA_KEYS = _MEDIA | {"data", "file_id"}
"""Keys under which those keep it; all their other values are read."""


def to_guard_messages(messages: Iterable[BaseMessage]) -> tuple[Message, ...]:
    """Return the guard's form of a conversation.

    Raises:
        ConversationError: a kind of message that has no place in a conversation.
    """
    return tuple(_to_guard_message(message) for message in messages)


def chain_messages(value: object) -> list[BaseMessage]:
    """Return the messages in what a chain passes to a chat model: text, a prompt value, messages or their short forms.

    Raises:
        ConversationError: it is none of these.
    """
    if isinstance(value, str):
        return [HumanMessage(value)]
    if isinstance(value, PromptValue):
        return value.to_messages()
    if isinstance(value, BaseMessage):
        return [value]
    if isinstance(value, Sequence):
        return convert_to_messages(value)
    raise ConversationError(
        f"a guard cannot read {type(value).__name__} as a prompt", hint="pass text, a prompt value or messages"
    )


def all_texts(value: object, *, is_text: bool = False) -> Iterator[str]:
    """Yield every text at any depth of an extra argument, such as a transcript or a reasoning summary.

    Args:
        value: what is searched.
        is_text: whether its own strings are text, as those below a text's key are.
    """
    if isinstance(value, str):
        if value and is_text:
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from all_texts(item, is_text=is_text)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from all_texts(inner, is_text=key in (*TEXT_KEYS, *NESTED_KEYS, "transcript"))


def every_text(value: object, unread: Collection[str] = (), *, is_block: bool = True) -> Iterator[str]:
    """Yield whatever a block says, but for media and what stands below the keys in `unread`.

    Only a block's own names are left out: below it, whoever wrote it chose the keys too.
    """
    if isinstance(value, Mapping):
        is_media = holds_media_itself(value)
        skipped = {*unread, *(_NAMES if is_block or is_media else ()), *(_MEDIA_KEYS if is_media else ())}
        for key, inner in value.items():
            if key not in skipped:
                if not is_block:
                    yield str(key)
                yield from every_text(inner, unread, is_block=False)
    elif isinstance(value, list):
        for inner in value:
            yield from every_text(inner, unread, is_block=is_block)
    elif value is not None:
        yield str(value)


def holds_media_itself(block: Mapping[str, Any]) -> bool:
    """Whether a block, or a source inside one, is of a type that holds something else than text."""
    return str(block.get("type")) in _MEDIA


def nested_texts(block: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the (key, part) pairs below a block that hold text of their own."""
    found = []
    for key in NESTED_KEYS:
        value = block.get(key)
        parts = [value] if isinstance(value, Mapping) else value if isinstance(value, list) else []
        found += [(key, part) for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
    return found


def text_key(block: Mapping[str, Any]) -> str | None:
    """Return the key under which a block keeps text; None when there is none."""
    return next((key for key in TEXT_KEYS if isinstance(block.get(key), str) and block[key]), None)


def is_thinking(block: Mapping[str, Any]) -> bool:
    """Whether a block's text is reasoning."""
    return block.get("type") in THINKING_BLOCKS or text_key(block) in THINKING_BLOCKS


def _to_guard_message(message: BaseMessage) -> Message:
    texts, thoughts, unreadable = _read_content(message.content)
    if not isinstance(message, AIMessage):
        return Message(_role(message), "\n".join([*thoughts, *texts]), unreadable=unreadable)
    kept = message.additional_kwargs.get("reasoning_content")
    if isinstance(kept, str):
        thoughts.append(kept)
    return Message(Role.ASSISTANT, "".join(texts), "".join(thoughts) or None, _tool_calls(message), unreadable)


def _role(message: BaseMessage) -> Role:
    if isinstance(message, ChatMessage):
        # A role of the application's own is somebody who speaks to the assistant, so it is judged as a user.
        return _CHAT_ROLES.get(message.role.lower(), Role.USER)
    for kind, role in _ROLES:
        if isinstance(message, kind):
            return role
    raise ConversationError(f"{type(message).__name__} has no place in a conversation")


def _read_content(content: str | list[Any]) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Return texts, reasoning, and kinds of blocks that cannot be read."""
    if isinstance(content, str):
        return [content], [], ()
    texts: list[str] = []
    thoughts: list[str] = []
    unreadable: list[str] = []
    for block in content:
        if isinstance(block, str):
            texts.append(block)
            continue
        found = _block_texts(block)
        (thoughts if is_thinking(block) else texts).extend(found)
        kind = str(block.get("type", "unknown"))
        if not found and kind not in {"text", *THINKING_BLOCKS, *CALL_BLOCKS}:
            unreadable.append(kind)
    return texts, thoughts, tuple(unreadable)


def _block_texts(block: Mapping[str, Any]) -> list[str]:
    key = text_key(block)
    own = [str(block[key])] if key else []
    return own + [str(part["text"]) for _, part in nested_texts(block)]


def _tool_calls(message: AIMessage) -> tuple[ToolCall, ...]:
    good = [
        ToolCall(call["name"], json.dumps(call["args"], ensure_ascii=False, default=str)) for call in message.tool_calls
    ]
    bad = [ToolCall(call["name"] or "", call["args"] or "") for call in message.invalid_tool_calls]
    return (*good, *bad)

"""Items of the Responses format as the guard reads them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from guardrail.conversation import Message, Role, ToolCall

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM, "developer": Role.SYSTEM}

_TEXT_KEYS = ("text", "refusal")

_FILES = ("input_image", "input_file", "input_audio", "computer_screenshot")


@dataclass(frozen=True, slots=True)
class Result:
    """A tool's result: the text that the LLM will read, what else is in it, the tool's name and the call's id."""

    tool: str
    text: str
    unreadable: tuple[str, ...]
    call_id: str


@dataclass(frozen=True, slots=True)
class History:
    """What a model is asked.

    Attributes:
        messages: all of it.
        before: what stood before the newest turn of the application.
        results: tool results in that turn.
        has_user: whether a person says something in it.
    """

    messages: tuple[Message, ...]
    before: tuple[Message, ...]
    results: tuple[Result, ...]
    has_user: bool


def read_history(instructions: str | None, items: str | Sequence[Any]) -> History:
    """Return what a model is asked."""
    messages = [Message(Role.SYSTEM, instructions)] if instructions else []
    results: list[Result] = []
    tools: dict[str, str] = {}
    n_before = len(messages)
    for item in [{"role": "user", "content": items}] if isinstance(items, str) else map(as_mapping, items):
        message = _read(item)
        if item.get("call_id") and item.get("name"):
            tools[item["call_id"]] = item["name"]
        if message is None:
            continue
        if message.role is Role.ASSISTANT:
            _extend_turn(messages, message)
            n_before, results = len(messages), []
            continue
        if message.role is Role.TOOL:
            call_id = item.get("call_id") or ""
            results.append(Result(tools.get(call_id, kind_of(item)), message.content, message.unreadable, call_id))
        messages.append(message)
    newest = messages[n_before:]
    has_user = any(message.role is Role.USER for message in newest)
    return History(tuple(messages), tuple(messages[:n_before]), tuple(results), has_user)


def read_answer(items: Sequence[Any]) -> Message:
    """Return items that a model made as one turn."""
    turn = [Message(Role.ASSISTANT, "")]
    for item in items:
        if message := _read(as_mapping(item)):
            _extend_turn(turn, message)
    return turn[0]


def as_mapping(item: Any) -> Mapping[str, Any]:
    """Return an item as a mapping, whether it comes as one or as an object."""
    return item if isinstance(item, Mapping) else item.model_dump(exclude_none=True)


def kind_of(item: Mapping[str, Any]) -> str:
    """Return an item's type; plain messages may come without one."""
    return str(item.get("type") or "message")


def to_call(item: Mapping[str, Any]) -> ToolCall:
    """Return a call as the guard reads it; what is no function's call goes by its type, with all that it says."""
    if kind_of(item) == "function_call":
        return ToolCall(item["name"], item["arguments"])
    said = {key: value for key, value in item.items() if key not in ("id", "type", "status", "call_id")}
    return ToolCall(kind_of(item), json.dumps(said, ensure_ascii=False, default=str))


def read_content(content: Any) -> tuple[str, tuple[str, ...]]:
    """Return the text of a message or a result, and the kinds of parts that cannot be read."""
    if content is None or isinstance(content, str):
        return content or "", ()
    parts = [as_mapping(part) for part in content]
    texts = [text for part in parts for text in _part_texts(part)]
    return "\n".join(texts), tuple(kind_of(part) for part in parts if kind_of(part) in _FILES)


def _part_texts(part: Mapping[str, Any]) -> list[str]:
    """Return the texts of a part; all that it says, as JSON, where its kind is not known."""
    texts = [part[key] for key in _TEXT_KEYS if isinstance(part.get(key), str)]
    return texts or ([] if kind_of(part) in _FILES else [json.dumps(part, ensure_ascii=False, default=str)])


def _read(item: Mapping[str, Any]) -> Message | None:
    kind = kind_of(item)
    if kind == "message":
        text, unreadable = read_content(item.get("content"))
        return Message(_ROLES.get(item.get("role", ""), Role.USER), text, unreadable=unreadable)
    if kind == "reasoning":
        parts = [*(item.get("summary") or ()), *(item.get("content") or ())]
        return Message(Role.ASSISTANT, "", read_content(parts)[0])
    if kind.endswith("_output"):
        output = item.get("output", item)
        text, unreadable = read_content(output if isinstance(output, str | list) else [output])
        return Message(Role.TOOL, text, unreadable=unreadable)
    if kind.endswith("_call"):
        return Message(Role.ASSISTANT, "", tool_calls=(to_call(item),))
    return None


def _extend_turn(messages: list[Message], message: Message) -> None:
    """Append an assistant's message, or join it with the turn that it goes on with."""
    if not messages or messages[-1].role is not Role.ASSISTANT:
        messages.append(message)
        return
    turn = messages[-1]
    messages[-1] = replace(
        turn,
        content=turn.content + message.content,
        reasoning="".join(filter(None, (turn.reasoning, message.reasoning))) or None,
        tool_calls=(*turn.tool_calls, *message.tool_calls),
    )

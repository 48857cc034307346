"""Messages of pydantic-ai as the guard reads them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydantic_ai.messages import (
    BaseToolCallPart,
    BaseToolReturnPart,
    CachePoint,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    RetryFeedbackPart,
    SystemPromptPart,
    TextContent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturn,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)

from guardrail.conversation import Message, Role, ToolCall


def to_guard_messages(messages: Sequence[ModelMessage], instructions: str | None) -> list[Message]:
    """Return a history as the guard's messages, the instructions in front."""
    found = [Message(Role.SYSTEM, instructions)] if instructions else []
    for message in messages:
        found += read_request(message.parts) if isinstance(message, ModelRequest) else [read_response(message.parts)]
    return found


def instructions_of(messages: Sequence[ModelMessage]) -> str | None:
    """Return the newest instructions: each request carries those of its step, and the LLM reads the last."""
    stated = (message.instructions for message in reversed(messages) if isinstance(message, ModelRequest))
    return next(filter(None, stated), None)


def read_request(parts: Sequence[ModelRequestPart]) -> list[Message]:
    """Return what the application tells the model, part by part; parts without text are left out."""
    return [message for part in parts for message in _read_part(part)]


def read_response(parts: Sequence[ModelResponsePart]) -> Message:
    """Return an answer as one turn."""
    texts = [part.content for part in parts if isinstance(part, TextPart)]
    thoughts = [part.content for part in parts if isinstance(part, ThinkingPart)]
    calls = tuple(to_call(part) for part in parts if isinstance(part, ToolCallPart))
    return Message(Role.ASSISTANT, "".join(texts), "".join(thoughts) or None, calls)


def read_turn_of(call_id: str, messages: Sequence[ModelMessage]) -> list[Message]:
    """Return a history up to one of its calls: the turn that makes it ends with the calls before it."""
    for i in range(len(messages) - 1, -1, -1):
        message = messages[i]
        if isinstance(message, ModelResponse):
            ids = [part.tool_call_id for part in message.parts if isinstance(part, ToolCallPart)]
            if call_id in ids:
                turn = read_response(message.parts)
                turn = replace(turn, tool_calls=turn.tool_calls[: ids.index(call_id)])
                return [*to_guard_messages(messages[:i], instructions_of(messages)), turn]
    return to_guard_messages(messages, instructions_of(messages))


def read_user(content: str | Sequence[UserContent]) -> Message:
    """Return what a person says; files in it are named as unreadable."""
    texts, unreadable = [], []
    for item in [content] if isinstance(content, str) else content:
        if isinstance(item, str | TextContent):
            texts.append(item if isinstance(item, str) else item.content)
        elif not isinstance(item, CachePoint):
            unreadable.append(item.kind)
    return Message(Role.USER, "\n".join(texts), unreadable=tuple(unreadable))


def read_result(result: object) -> tuple[str, tuple[str, ...]]:
    """Return the text of what a tool returned, as an LLM would read it, and the kinds of files in it."""
    if not isinstance(result, ToolReturn):
        return read_return(ToolReturnPart("", result, tool_call_id=""))
    text, unreadable = read_result(result.return_value)
    shown = read_user(result.content or ())
    return "\n".join(filter(None, (text, shown.content))), (*unreadable, *shown.unreadable)


def read_return(part: BaseToolReturnPart) -> tuple[str, tuple[str, ...]]:
    """Return the text of a tool's result, and the kinds of files in it."""
    return part.model_response_str(), tuple(file.kind for file in part.files)


def to_call(part: BaseToolCallPart) -> ToolCall:
    """Return a call as the guard reads it."""
    return ToolCall(part.tool_name, part.args_as_json_str())


def _read_part(part: ModelRequestPart) -> Iterator[Message]:
    if isinstance(part, SystemPromptPart):
        yield Message(Role.SYSTEM, part.content)
    elif isinstance(part, UserPromptPart):
        yield read_user(part.content)
    elif isinstance(part, BaseToolReturnPart):
        yield Message(Role.TOOL, part.model_response_str())
    elif isinstance(part, RetryFeedbackPart):
        yield Message(Role.USER, part.model_response())

"""Messages, and their rendering with the Qwen3 chat template as control, scaffold and content segments.

Control segments are single special tokens; scaffold is the template's own text; content is what people, models and
tools wrote. Only control segments may become special tokens, so `<|im_end|>` or `<think>` inside content stays text.
Scaffold and content that touch are encoded together, which gives the ids of the template's whole text.
Source: the Qwen3 chat template; `enable_thinking` false gives the empty think block.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from guardrail.errors import ConversationError


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


ROLES = {**{role.value: role for role in Role}, "developer": Role.SYSTEM, "function": Role.TOOL}
"""Roles by all names that OpenAI's formats have for them."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the assistant made.

    Attributes:
        name: the tool's name.
        arguments: JSON text, as the model wrote it.
    """

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: who speaks.
        content: the text; for a tool, its result.
        reasoning: the assistant's thinking, kept apart from the answer; None when there is none.
        tool_calls: calls made in an assistant turn.
        unreadable: kinds of parts that the guard cannot read, such as "image_url".
    """

    role: Role
    content: str
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    unreadable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        role: Any = self.role  # by its name, or whatever else a caller passes
        if not isinstance(role, str) or role not in list(Role):
            found = "unknown role" if isinstance(role, str) else f"a role must be text, not {type(role).__name__}"
            raise ConversationError(found, hint=f"use one of {', '.join(Role)}")
        object.__setattr__(self, "role", Role(role))
        object.__setattr__(self, "unreadable", tuple(map(_kind, self.unreadable)))
        for name, text in (("content", self.content), ("reasoning", self.reasoning or "")):
            if not isinstance(text, str):
                raise ConversationError(f"{name} must be text, not {type(text).__name__}")


def _kind(name: Any) -> str:
    """Return the kind of a part as records may keep it: callers write it, and a text of theirs is no kind."""
    return name if isinstance(name, str) and _KIND.fullmatch(name) else "unknown"


_KIND = re.compile(r"[\w./:+-]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a rendered conversation; a control segment is exactly one special token, by name."""

    text: str
    kind: Literal["control", "scaffold", "content"]


Conversation = str | Sequence[Message | Mapping[str, Any]]
"""What callers may pass: one user message as text, or messages as objects or OpenAI-style dicts."""


def to_messages(conversation: Conversation) -> tuple[Message, ...]:
    """Return messages from text, `Message` objects or OpenAI-style dicts.

    Raises:
        ConversationError: no messages, an unknown role, or content that is neither text nor a list of parts.
    """
    if isinstance(conversation, str):
        return (Message(Role.USER, conversation),)
    messages: Any = conversation
    if not isinstance(messages, Sequence) or isinstance(messages, bytes | bytearray):
        raise ConversationError(f"a conversation is text or a list of messages, not {type(messages).__name__}")
    return tuple(m if isinstance(m, Message) else _from_mapping(m) for m in messages)


def _from_mapping(message: Mapping[str, Any]) -> Message:
    if not isinstance(message, Mapping):
        raise ConversationError(f"a message must be a Message or a mapping, not {type(message).__name__}")
    content, unreadable = _read_content(message.get("content"))
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise ConversationError(f"tool_calls must be a list, not {type(calls).__name__}")
    read = tuple(_from_call(call) for call in calls)
    role = message.get("role", "")
    role = ROLES.get(role, role) if isinstance(role, str) else role
    return Message(role, content, message.get("reasoning_content"), read, unreadable)


def _read_content(content: Any) -> tuple[str, tuple[str, ...]]:
    if content is None:
        return "", ()
    if isinstance(content, str):
        return content, ()
    if not isinstance(content, Sequence) or isinstance(content, bytes | bytearray):
        raise ConversationError(f"content must be text or a list of parts, not {type(content).__name__}")
    parts = [Part.of(part) for part in content]
    texts = [part.text for part in parts if part.text is not None]
    return "\n".join(texts), tuple(part.unreadable for part in parts if part.unreadable)


_TEXT_PARTS = (None, "", "text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a message's content.

    Attributes:
        text: what it says; None when it has no text.
        unreadable: its kind, when it may hold something besides that text; None when all of it was read.
    """

    text: str | None
    unreadable: str | None

    @classmethod
    def of(cls, part: Any) -> "Part":
        """Read a part, as text or in OpenAI's style; a text beside an image, say, does not make that readable."""
        if isinstance(part, str):
            return cls(part, None)
        if not isinstance(part, Mapping):
            return cls(None, "unknown")
        said = [part[name] for name in ("text", "refusal") if isinstance(part.get(name), str)]
        kind = part.get("type")
        is_read = said and kind in _TEXT_PARTS
        unreadable = None if is_read else kind if kind and isinstance(kind, str) else "unknown"
        return cls("\n".join(said) if said else None, unreadable)


def _from_call(call: Any) -> ToolCall:
    """Return a function's call, with or without the shell around it, or a custom tool's."""
    given = call if isinstance(call, Mapping) else {}
    is_custom = not given.get("function") and bool(given.get("custom"))
    said = given["custom"] if is_custom else given.get("function", given)
    found = said if isinstance(said, Mapping) else {}
    name, arguments = found.get("name"), found.get("input" if is_custom else "arguments", "{}")
    if not isinstance(name, str) or not isinstance(arguments, str):
        raise ConversationError("a tool call needs a name and arguments as JSON text")
    return ToolCall(name, arguments)


_OPEN, _CLOSE = Segment("<|im_start|>", "control"), Segment("<|im_end|>", "control")
_THINK, _END_THINK = Segment("<think>", "control"), Segment("</think>", "control")
_TOOL_RESPONSE, _END_TOOL_RESPONSE = Segment("<tool_response>", "control"), Segment("</tool_response>", "control")
_TOOL_CALL, _END_TOOL_CALL = Segment("<tool_call>", "control"), Segment("</tool_call>", "control")
_NEWLINE = Segment("\n", "scaffold")

ANSWER_HEADER = (_OPEN, Segment("assistant\n", "scaffold"))
"""Opens the assistant turn under judgement."""

EMPTY_THINKING = (_THINK, Segment("\n\n", "scaffold"), _END_THINK, Segment("\n\n", "scaffold"))
"""Stands before an answer without reasoning."""

BEGIN_THINKING = (_THINK, _NEWLINE)
END_THINKING = (_NEWLINE, _END_THINK, Segment("\n\n", "scaffold"))
BEGIN_TOOL_CALL = (_TOOL_CALL, _NEWLINE)
END_TOOL_CALL = (_NEWLINE, _END_TOOL_CALL)

CONTROL_TOKENS = frozenset(
    s.text for s in (_OPEN, _CLOSE, _THINK, _END_THINK, _TOOL_RESPONSE, _END_TOOL_RESPONSE, _TOOL_CALL, _END_TOOL_CALL)
)
"""Special tokens a tokenizer must know to render conversations."""


def judged_prompts(messages: Sequence[Message]) -> list[tuple[Message, ...]]:
    """Return one conversation for each turn that a prompt check must judge; each ends with that turn.

    The judged turn is the last user message; when tool results stand last, each of them is judged in its own
    rendering, beside none of its neighbours.

    Raises:
        ConversationError: there is no user or tool message.
    """
    end = next((i for i in range(len(messages), 0, -1) if messages[i - 1].role in (Role.USER, Role.TOOL)), 0)
    if not end:
        raise ConversationError("no user or tool message to judge", hint="a prompt check needs one")
    start = end - 1
    while messages[end - 1].role is Role.TOOL and start and messages[start - 1].role is Role.TOOL:
        start -= 1
    return [(*messages[:start], message) for message in messages[start:end]]


def render(messages: Sequence[Message]) -> list[Segment]:
    """Render whole turns, each closed by `<|im_end|>` and a newline, as the Qwen3 template does."""
    last_query = max((i for i, m in enumerate(messages) if m.role is Role.USER), default=-1)
    segments: list[Segment] = []
    for i, message in enumerate(messages):
        if message.role is Role.TOOL:
            opens = i == 0 or messages[i - 1].role is not Role.TOOL
            closes = i + 1 == len(messages) or messages[i + 1].role is not Role.TOOL
            segments += _render_tool(message, opens=opens, closes=closes)
        elif message.role is Role.ASSISTANT:
            segments += _render_assistant(message, keeps_reasoning=i > last_query)
        else:
            segments += _turn(message.role, Segment(message.content, "content"))
    return segments


def render_prompt(messages: Sequence[Message]) -> list[Segment]:
    """Render up to and including the `<|im_end|>` that closes the last turn: where the query heads are read."""
    return render(messages)[:-1]


def _turn(role: Role, *body: Segment) -> list[Segment]:
    return [_OPEN, Segment(f"{role.value}\n", "scaffold"), *body, _CLOSE, _NEWLINE]


def _render_tool(message: Message, *, opens: bool, closes: bool) -> list[Segment]:
    head = [_OPEN, Segment("user\n", "scaffold")] if opens else [_NEWLINE]
    tail = [_CLOSE, _NEWLINE] if closes else []
    return [*head, _TOOL_RESPONSE, _NEWLINE, Segment(message.content, "content"), _NEWLINE, _END_TOOL_RESPONSE, *tail]


def _render_assistant(message: Message, *, keeps_reasoning: bool) -> list[Segment]:
    message = _split_inline_reasoning(message)
    body = [Segment(message.content, "content")]
    if keeps_reasoning and message.reasoning:
        thinking = Segment(message.reasoning.strip("\n"), "content")
        body = [*BEGIN_THINKING, thinking, *END_THINKING, Segment(message.content.lstrip("\n"), "content")]
    for i, call in enumerate(message.tool_calls):
        if i or message.content:
            body.append(_NEWLINE)
        body += render_tool_call(call)
    return _turn(Role.ASSISTANT, *body)


def render_tool_call(call: ToolCall) -> list[Segment]:
    """Render one tool call; the JSON between the tags is content."""
    text = f'{{"name": "{call.name}", "arguments": {call.arguments}}}'
    return [*BEGIN_TOOL_CALL, Segment(text, "content"), *END_TOOL_CALL]


def call_opening(messages: Sequence[Message]) -> tuple[Sequence[Message], list[Segment]]:
    """Return the messages before the assistant's turn under way, and that turn's rendering up to its next call.

    The turn is the last message, if that is the assistant's: its reasoning, text and earlier calls are context.
    """
    if not messages or messages[-1].role is not Role.ASSISTANT:
        return messages, [*EMPTY_THINKING, *BEGIN_TOOL_CALL]
    turn = messages[-1]
    opening = list(EMPTY_THINKING)
    if turn.reasoning:
        opening = [*BEGIN_THINKING, Segment(turn.reasoning.strip("\n"), "content"), *END_THINKING]
    opening.append(Segment(turn.content.lstrip("\n"), "content"))
    newline = Segment("\n", "scaffold")
    for i, call in enumerate(turn.tool_calls):
        opening += [*([newline] if i or turn.content else []), *render_tool_call(call)]
    return messages[:-1], [*opening, *([newline] if turn.content or turn.tool_calls else []), *BEGIN_TOOL_CALL]


CALL_CLOSING = END_TOOL_CALL[0].text
"""Scaffold that is encoded with the end of a call."""


def _split_inline_reasoning(message: Message) -> Message:
    """Move history's text before `</think>` into the reasoning, as the template does."""
    if message.reasoning is not None or "</think>" not in message.content:
        return message
    thinking = message.content.split("</think>")[0].rstrip("\n").split("<think>")[-1].lstrip("\n")
    return replace(message, reasoning=thinking, content=message.content.split("</think>")[-1].lstrip("\n"))

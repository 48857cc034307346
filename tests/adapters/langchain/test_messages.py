"""LangChain's messages as the guard reads them."""

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from guardrail import ConversationError, Message, Role, ToolCall
from guardrail.adapters.langchain.messages import to_guard_messages

IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}
CALL = {"name": "add", "args": {"a": "ü"}, "id": "1"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (SystemMessage("Be kind."), Message(Role.SYSTEM, "Be kind.")),
        (HumanMessage("Hello"), Message(Role.USER, "Hello")),
        (
            HumanMessage(["a", {"type": "text", "text": "b"}, IMAGE]),
            Message(Role.USER, "a\nb", unreadable=("image_url",)),
        ),
        (AIMessage("Hi"), Message(Role.ASSISTANT, "Hi")),
        (AIMessage("", tool_calls=[CALL]), Message(Role.ASSISTANT, "", None, (ToolCall("add", '{"a": "ü"}'),))),
        (
            AIMessage("", invalid_tool_calls=[{"name": None, "args": "{", "id": None, "error": None}]),
            Message(Role.ASSISTANT, "", None, (ToolCall("", "{"),)),
        ),
        (AIMessage("x", additional_kwargs={"reasoning_content": "hm"}), Message(Role.ASSISTANT, "x", "hm")),
        (
            AIMessage([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "x"}, {"type": "tool_use"}]),
            Message(Role.ASSISTANT, "x", "hm"),
        ),
        (
            AIMessage([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}, "x"]),
            Message(Role.ASSISTANT, "x", "hm"),
        ),
        (ToolMessage("42", tool_call_id="1"), Message(Role.TOOL, "42")),
        (FunctionMessage(content="42", name="add"), Message(Role.TOOL, "42")),
        (ChatMessage(content="Hi", role="developer"), Message(Role.SYSTEM, "Hi")),
        (ChatMessage(content="Hi", role="critic"), Message(Role.USER, "Hi")),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
def test_every_kind_of_message_is_read(message: BaseMessage, expected: Message) -> None:
    """Roles, text, reasoning, tool calls and unreadable parts find their place."""
    assert to_guard_messages([message]) == (expected,)


def test_a_message_without_a_place_is_refused() -> None:
    """Commands to a message store are no turns."""
    with pytest.raises(ConversationError, match="RemoveMessage"):
        to_guard_messages([RemoveMessage(id="1")])


def test_an_image_in_the_prompt_is_recorded_as_unread(guard: Any) -> None:
    """The policy is told about what the guard could not read."""
    decision = guard.check_prompt(to_guard_messages([HumanMessage([{"type": "text", "text": "Look"}, IMAGE])]))
    assert decision.unreadable == ("image_url",)
    assert decision.flagged

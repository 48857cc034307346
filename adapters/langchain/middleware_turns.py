"""Which turns of an agent's conversation have been read, and which the model is not shown again."""

import hashlib
from collections.abc import Hashable, Sequence

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, RemoveMessage, ToolMessage

from guardrail.actions import Action
from guardrail.decision import Direction


def reading_key(conversation_id: str, message: BaseMessage) -> Hashable:
    """Return what a reading of a message is remembered by: its place and its content."""
    place = message.tool_call_id if isinstance(message, ToolMessage) else message.id
    return conversation_id, message.type, place, hashlib.sha256(repr(message.content).encode()).digest()


def following(before: bytes, message: BaseMessage) -> bytes:
    """Return a digest of a message and of what stands before it: a user turn is judged by all of that."""
    return hashlib.sha256(before + repr((message.type, message.content)).encode()).digest()


def behind_answer(messages: Sequence[BaseMessage]) -> int:
    """Return where the turns begin that the model has not answered yet."""
    return next((i for i in range(len(messages), 0, -1) if isinstance(messages[i - 1], AIMessage)), 0)


def without_stopped(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Return a conversation without the user turns that were stopped, and without the refusals that answered them."""
    kept: list[AnyMessage] = []
    for message in messages:
        if not is_refused_prompt(message):
            kept.append(message)
            continue
        while kept and isinstance(kept[-1], HumanMessage):
            kept.pop()
    return kept


def changes(
    state: Sequence[AnyMessage], before: Sequence[AnyMessage], after: Sequence[AnyMessage]
) -> list[BaseMessage]:
    """Return what makes the state hold what the model was shown.

    Args:
        state: messages in the state.
        before: the conversation that the model was to see.
        after: what it saw of that: messages may have been screened, or left out.
    """
    kept, shown = {message.id for message in state}, {message.id: message for message in after}
    changed: list[BaseMessage] = []
    for message in before:
        if not message.id or message.id not in kept:
            continue
        if message.id not in shown:
            changed.append(RemoveMessage(id=message.id))
        elif shown[message.id].content != message.content:
            changed.append(shown[message.id])
    return changed


def is_refused_prompt(message: BaseMessage) -> bool:
    """Whether a message is the middleware's answer to a user turn that it stopped."""
    return is_refused(message) and message.response_metadata["guardrail"].get("direction") == Direction.PROMPT


def is_refused(message: BaseMessage) -> bool:
    """Whether a message stands for an answer or prompt that the guard stopped."""
    record = message.response_metadata.get("guardrail")
    if not (isinstance(message, AIMessage) and isinstance(record, dict)):
        return False
    return record.get("action") in {Action.STOP, Action.ASK}

"""Tool calls of an agent: what was decided on them, what stands before them, what the model is told of a refusal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage

from guardrail.actions import Action
from guardrail.decision import Decision
from guardrail.records import record_values


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is done with a call.

    Attributes:
        action: allow, flag, ask or stop.
        category: kind of harm, if any was found.
        record: the decision, as it stands in metadata.
    """

    action: Action
    category: str | None
    record: Mapping[str, Any]

    @classmethod
    def of(cls, decision: Decision) -> "Ruling":
        """Return what a decision comes to."""
        return cls(decision.action, decision.category, record_values(decision))


def recorded(messages: Sequence[BaseMessage], call_id: str | None) -> Ruling | None:
    """Return what the message that makes a call says was decided on it; None if it says nothing.

    Only to make a decision harder: whoever may write messages into the state could have written it.
    """
    turn = _turn_of(messages, call_id)
    records = messages[turn].response_metadata.get("guardrail_calls") if turn is not None else None
    record = records.get(call_id) if isinstance(records, dict) else None
    if not isinstance(record, dict) or record.get("action") not in list(Action):
        return None
    return Ruling(Action(record["action"]), record.get("category"), record)


def harder(ruling: Ruling, other: Ruling | None) -> Ruling:
    """Return the harder of two rulings."""
    return other if other and other.action.rank > ruling.action.rank else ruling


def before_call(messages: Sequence[BaseMessage], call_id: str | None) -> list[BaseMessage]:
    """Return what stands before a call: its turn comes last, with those of its calls that were made earlier."""
    turn = _turn_of(messages, call_id)
    if turn is None:
        return list(messages)
    message = messages[turn]
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    earlier = calls[: next(i for i, call in enumerate(calls) if call["id"] == call_id)]
    said = message.model_copy(update={"tool_calls": earlier, "invalid_tool_calls": []})
    return [*messages[:turn], *([said] if earlier or said.text else [])]


def before_result(messages: Sequence[BaseMessage], call_id: str | None) -> list[BaseMessage]:
    """Return what stands before a call's result: everything up to the turn that makes the call."""
    turn = _turn_of(messages, call_id)
    return list(messages if turn is None else messages[: turn + 1])


def refused(call: ToolCall, text: str, ruling: Ruling | None = None) -> ToolMessage:
    """Return what the model is told in place of a call's result."""
    metadata = {"guardrail": dict(ruling.record)} if ruling else {}
    return ToolMessage(
        text, name=call["name"], tool_call_id=call["id"] or "", status="error", response_metadata=metadata
    )


def _turn_of(messages: Sequence[BaseMessage], call_id: str | None) -> int | None:
    for i in range(len(messages) - 1, -1, -1):
        message = messages[i]
        if isinstance(message, AIMessage) and any(call["id"] == call_id for call in message.tool_calls):
            return i
    return None

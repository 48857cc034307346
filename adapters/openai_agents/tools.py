"""Guardrails of single tools: their calls before they run, their results before the LLM reads them."""

import json
from typing import Any, TypedDict

from agents import (
    FunctionTool,
    ItemHelpers,
    ToolGuardrailFunctionOutput,
    ToolInputGuardrail,
    ToolInputGuardrailData,
    ToolOutputGuardrail,
    ToolOutputGuardrailData,
)
from openai.types.responses import ResponseFunctionToolCall

from guardrail.adapters.openai_agents.messages import read_content, read_history
from guardrail.adapters.openai_agents.records import run_id
from guardrail.adapters.openai_agents.turns import Turn, Turns
from guardrail.conversation import Message, ToolCall
from guardrail.guard import Guard
from guardrail.records import record_values

REFUSED = "guardrail_refused"
"""The one argument that is left of a refused call: what the LLM is told in the place of a result."""


class ToolGuardrails(TypedDict):
    """What `function_tool`, `FunctionTool` and the MCP servers take as keywords."""

    tool_input_guardrails: list[ToolInputGuardrail[Any]]
    tool_output_guardrails: list[ToolOutputGuardrail[Any]]


def tool_guardrails(guard: Guard) -> ToolGuardrails:
    """Return guardrails for a tool or an MCP server: `@function_tool(**tool_guardrails(guard))`.

    A stopped call does not run, and a stopped result is withheld or replaced by its harmless passages; the LLM reads
    the policy's message instead. A call that must wait for a person is refused, unless the tool has
    `needs_approval=True`: then a person was asked.

    They see whole calls and results. Arguments have been streamed, traced and kept in the run's items before that:
    only a `GuardedModel` holds them back. Together each call is read once, by the model.
    """
    return {
        "tool_input_guardrails": [ToolCallGuardrail(guard)],
        "tool_output_guardrails": [ToolResultGuardrail(guard)],
    }


class ToolCallGuardrail(ToolInputGuardrail[Any]):
    """Refuses stopped calls, also those of which a `GuardedModel` has left only the name."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(self._judge, name="guardrail")
        self.guard = guard

    async def _judge(self, data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        call, turns = data.context, _turns(data, self.guard)
        if message := refusal_in(call.tool_arguments):
            if turns:
                turns.note_screened(call.tool_call_id, message)
            return ToolGuardrailFunctionOutput.reject_content(message)
        if turns:  # the model has read it
            return ToolGuardrailFunctionOutput.allow()
        decision = await self.guard.acheck_tool_call(
            _messages(data), ToolCall(call.tool_name, call.tool_arguments), conversation_id=run_id()
        )
        tool = next((tool for tool in data.agent.tools if tool.name == call.tool_name), None)
        if decision.stopped or (decision.asks and not asks_person(tool)):
            message = self.guard.policy.call_message(decision.category)
            return ToolGuardrailFunctionOutput.reject_content(message, record_values(decision))
        return ToolGuardrailFunctionOutput.allow(record_values(decision))


class ToolResultGuardrail(ToolOutputGuardrail[Any]):
    """Withholds stopped results, or leaves their harmless passages."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(self._judge, name="guardrail")
        self.guard = guard

    async def _judge(self, data: ToolOutputGuardrailData) -> ToolGuardrailFunctionOutput:
        call, turns = data.context, _turns(data, self.guard)
        turn = (turns and turns.take(call.tool_call_id)) or Turn(run_id(), _messages(data))
        text, unreadable = _read(call.tool_call, data.output)
        screened = await self.guard.ascreen_tool_result(
            turn.messages, text, tool=call.tool_name, conversation_id=turn.id, unreadable=unreadable
        )
        if turns:
            turns.note_screened(call.tool_call_id, screened.text)
        record = record_values(screened.decision)
        if screened.decision.stopped:
            return ToolGuardrailFunctionOutput.reject_content(screened.text, record)
        return ToolGuardrailFunctionOutput.allow(record)


def asks_person(tool: object) -> bool:
    """Whether the SDK asks a person before each call of a tool."""
    return isinstance(tool, FunctionTool) and tool.needs_approval is True


def refused(call: ResponseFunctionToolCall, message: str) -> ResponseFunctionToolCall:
    """Return what is left of a refused call."""
    return call.model_copy(update={"arguments": json.dumps({REFUSED: message}, ensure_ascii=False)})


def refusal_in(arguments: str) -> str | None:
    """Return what the LLM is to be told, if this is all that is left of a refused call."""
    try:
        found = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    return str(found[REFUSED]) if isinstance(found, dict) and REFUSED in found else None


def _turns(data: ToolInputGuardrailData, guard: Guard) -> Turns | None:
    """Return what the model that made the call remembers; None if this guard does not gate it."""
    config = data.context.run_config
    turns = getattr((config and config.model) or data.agent.model, "turns", None)
    return turns if isinstance(turns, Turns) and turns.guard is guard else None


def _messages(data: ToolInputGuardrailData) -> tuple[Message, ...]:
    return read_history(None, data.context.turn_input).messages


def _read(call: ResponseFunctionToolCall | None, output: object) -> tuple[str, tuple[str, ...]]:
    """Return the text of a result, as the LLM would read it, and the kinds of parts that cannot be read."""
    if isinstance(output, str) or call is None:
        return str(output), ()
    return read_content(ItemHelpers.tool_call_output_item(call, output)["output"])

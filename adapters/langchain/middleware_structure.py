"""Asking an agent's model; a refused call or a stopped answer is never taken for structured output."""

from collections.abc import Callable
from typing import Any

from langchain.agents.middleware import ModelRequest, ModelResponse
from langchain.agents.structured_output import StructuredOutputError
from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage

from guardrail.actions import Action
from guardrail.adapters.langchain.calls import blanked
from guardrail.adapters.langchain.exchange import called_with
from guardrail.adapters.langchain.middleware_calls import recorded, refused
from guardrail.adapters.langchain.middleware_turns import is_refused
from guardrail.policy import Policy


def answered(handler: Callable[..., Any], request: ModelRequest[Any], talk: str) -> ModelResponse[Any]:
    """Return the model's response, its records under the conversation's id; a stop ends what has no structure.

    Raises:
        StructuredOutputError: the structure is wrong, and not because of a stop.
    """
    with called_with({"configurable": {"thread_id": talk}}):
        try:
            response: ModelResponse[Any] = handler(request)
        except StructuredOutputError as error:
            return _stopped_structure(error)
        return response


async def aanswered(handler: Callable[..., Any], request: ModelRequest[Any], talk: str) -> ModelResponse[Any]:
    """As `answered`, without blocking the event loop."""
    with called_with({"configurable": {"thread_id": talk}}):
        try:
            response: ModelResponse[Any] = await handler(request)
        except StructuredOutputError as error:
            return _stopped_structure(error)
        return response


def _stopped_structure(error: StructuredOutputError) -> ModelResponse[Any]:
    """Return the answer that lacks its structure because it was stopped.

    Raises:
        StructuredOutputError: it was not.
    """
    if not is_refused(error.ai_message):
        raise error
    return ModelResponse(result=[error.ai_message])


def without_refused_structure(response: ModelResponse[Any], policy: Policy) -> ModelResponse[Any]:
    """Return a response whose refused calls were not taken for structured output: nobody runs those calls."""
    answered = {message.tool_call_id for message in response.result if isinstance(message, ToolMessage)}
    found = {call_id: ruling for call_id in answered if (ruling := recorded(response.result, call_id))}
    refusals = {call_id: one for call_id, one in found.items() if one.action in {Action.STOP, Action.ASK}}
    if not refusals:
        return response
    result: list[BaseMessage] = []
    for message in response.result:
        if isinstance(message, AIMessage):
            result.append(blanked(message, lambda call: call.id in refusals))
        elif isinstance(message, ToolMessage) and (ruling := refusals.get(message.tool_call_id)):
            call = ToolCall(name=message.name or "", args={}, id=message.tool_call_id)
            result.append(refused(call, policy.call_message(ruling.category), ruling))
        else:
            result.append(message)
    return ModelResponse(result=result, structured_response=None)

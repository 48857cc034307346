"""Asking a person about a tool call: a LangGraph interrupt in the shape of `HumanInTheLoopMiddleware`."""

from collections.abc import Mapping
from typing import Annotated, Any

from langchain.agents.middleware import ToolCallRequest
from langchain.agents.middleware.human_in_the_loop import (
    ActionRequest,
    ApproveDecision,
    DecisionType,
    EditDecision,
    HITLRequest,
    RejectDecision,
    ReviewConfig,
)
from langchain_core.messages import ToolCall
from langgraph.types import interrupt
from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from guardrail.adapters.langchain.middleware_calls import Ruling

_CHECKPOINTER = "__pregel_checkpointer"
"""Where LangGraph keeps the checkpointer of the run; without one, nobody could ever answer."""

_ALLOWED: list[DecisionType] = ["approve", "edit", "reject"]

Answer = ApproveDecision | EditDecision | RejectDecision


class Answers(TypedDict):
    """What the run is resumed with: one decision, for the one call that was asked about."""

    decisions: Annotated[list[Answer], Field(min_length=1, max_length=1)]


def can_ask(config: Mapping[str, Any]) -> bool:
    """Whether the run can wait for a person."""
    return bool(config.get("configurable", {}).get(_CHECKPOINTER))


def ask(request: ToolCallRequest, ruling: Ruling) -> Answer:
    """Wait for a person's decision. The node is run again when the answer comes.

    Raises:
        GraphInterrupt: there is no answer yet.
        ValidationError: the answer has another shape, or its edit names a tool that the agent does not have; it can be
            given again.
    """
    call = request.tool_call
    names = {call["name"], *(tool.name for tool in request.runtime.tools)}

    def known(answers: Answers) -> Answers:
        for answer in answers["decisions"]:
            if answer["type"] == "edit" and answer["edited_action"]["name"] not in names:
                raise ValueError("the edit names a tool that the agent does not have")
        return answers

    why = f"A safety policy asks a person about this tool call: {ruling.category or 'its rule says so'}."
    action = ActionRequest(name=call["name"], args=call["args"], description=why)
    review = ReviewConfig(action_name=call["name"], allowed_decisions=_ALLOWED)
    asked = HITLRequest(action_requests=[action], review_configs=[review])
    schema: Any = Annotated[Answers, AfterValidator(known)]
    answers: Answers = interrupt(asked, response_schema=schema)
    return answers["decisions"][0]


def rejection(call: ToolCall, message: str | None) -> str:
    """Return what the model is told of a call that a person rejected."""
    if message:
        return f"A person rejected this call of {call['name']}: {message}"
    return f"A person rejected this call of {call['name']}. It was not run. Do not repeat it unless you are asked to."


def edited(request: ToolCallRequest, name: str, args: dict[str, Any]) -> ToolCallRequest:
    """Return the request for the call that a person made of it."""
    call = ToolCall(name=name, args=args, id=request.tool_call["id"], type="tool_call")
    if name == request.tool_call["name"]:
        return request.override(tool_call=call)
    return request.override(tool_call=call, tool=next(tool for tool in request.runtime.tools if tool.name == name))

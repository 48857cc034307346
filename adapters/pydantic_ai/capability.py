# ruff: noqa: ARG002 - names and parameters are the framework's
"""The guard as a capability of an agent: around its model, before its tool calls and behind their results."""

from dataclasses import dataclass, field, replace
from typing import Any

from pydantic_ai import RunContext, ToolDefinition
from pydantic_ai.capabilities import AbstractCapability, WrapToolExecuteHandler
from pydantic_ai.exceptions import ApprovalRequired, ModelRetry, ToolFailed, ToolFailedError, ToolRetryError
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.models import Model
from pydantic_ai.tools import AgentDepsT

from guardrail.adapters.pydantic_ai.exchange import REFUSED, Ledger
from guardrail.adapters.pydantic_ai.messages import (
    instructions_of,
    read_result,
    read_turn_of,
    to_call,
    to_guard_messages,
)
from guardrail.adapters.pydantic_ai.model import GuardedModel
from guardrail.guard import Guard
from guardrail.records import record_values


@dataclass
class GuardCapability(AbstractCapability[AgentDepsT]):
    """Guards a whole agent: `Agent(model, capabilities=[GuardCapability(guard)])`. Runs share nothing but the guard.

    Prompts and answers pass a `GuardedModel`. A stopped tool call is refused: it does not run, its arguments leave
    nowhere, and the LLM reads the policy's message as a failed result. A call that must wait for a person becomes an
    approval request (`DeferredToolRequests` must be an output type, or another capability must handle it); approved, it
    runs as the person left it. Results are screened before anything else sees them, errors that tools tell the LLM too.

    A stopped call of an output tool, or of a tool that the agent does not run itself, ends the answer.

    Attributes:
        guard: judges.
    """

    guard: Guard = field(kw_only=False)
    _ledger: Ledger = field(default_factory=Ledger, init=False, repr=False)

    async def for_run(self, ctx: RunContext[AgentDepsT]) -> "GuardCapability[AgentDepsT]":
        return replace(self)

    def get_wrapper_model(self, model: Model) -> Model:
        return GuardedModel(model, self.guard, ledger=self._ledger)

    async def before_tool_validate(
        self,
        ctx: RunContext[AgentDepsT],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: str | dict[str, Any],
    ) -> str | dict[str, Any]:
        if message := call.args_as_dict().get(REFUSED):
            raise self._refusal(call, str(message))
        return args

    async def wrap_tool_execute(
        self,
        ctx: RunContext[AgentDepsT],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: dict[str, Any],
        handler: WrapToolExecuteHandler,
    ) -> Any:
        await self._admit(ctx, call)
        try:
            result = await handler(args)
        except (ModelRetry, ToolFailed, ToolRetryError, ToolFailedError) as error:  # a tool's words to the LLM
            if (text := await self._screen(ctx, call, str(error), ())) is not None:
                raise ToolFailed(text) from None
            raise
        text = await self._screen(ctx, call, *read_result(result))
        return result if text is None else text

    async def _admit(self, ctx: RunContext[AgentDepsT], call: ToolCallPart) -> None:
        """Let a call run, or refuse it, or ask a person first."""
        decision = self._ledger.decided.pop(call.tool_call_id, None)
        if ctx.tool_call_approved:
            return
        if decision is None:  # made in an earlier run, or by a model that this capability does not wrap
            decision = await self.guard.acheck_tool_call(
                read_turn_of(call.tool_call_id, ctx.messages), to_call(call), conversation_id=ctx.conversation_id
            )
        if decision.stopped:
            raise self._refusal(call, self.guard.policy.call_message(decision.category))
        if decision.asks:
            raise ApprovalRequired(metadata={"guardrail": record_values(decision)})

    def _refusal(self, call: ToolCallPart, message: str) -> ToolFailed:
        self._ledger.screened.add(call.tool_call_id)
        return ToolFailed(message)

    async def _screen(
        self, ctx: RunContext[AgentDepsT], call: ToolCallPart, text: str, unreadable: tuple[str, ...]
    ) -> str | None:
        """Return what stands for a stopped result; None when it may pass as it is."""
        screened = await self.guard.ascreen_tool_result(
            to_guard_messages(ctx.messages, instructions_of(ctx.messages)),
            text,
            tool=call.tool_name,
            conversation_id=ctx.conversation_id,
            unreadable=unreadable,
        )
        self._ledger.screened.add(call.tool_call_id)
        return screened.text if screened.decision.stopped else None

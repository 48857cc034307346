"""One request to a model: who guards it, what was said before, and what is said at a stop."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    NativeToolCallPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from guardrail.adapters.pydantic_ai.messages import (
    instructions_of,
    read_request,
    read_response,
    read_return,
    to_call,
    to_guard_messages,
)
from guardrail.closing import closing_text
from guardrail.conversation import Message
from guardrail.decision import Decision
from guardrail.guard import Guard
from guardrail.records import record_values
from guardrail.repair import Attempt
from guardrail.stream import Stream

REFUSED = "guardrail_refused"
"""The one argument that is left of a refused call: what the LLM is told in the place of a result."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the capability and the model of one run tell each other.

    Attributes:
        decided: decisions on calls, by the call's id.
        screened: ids of calls whose results, or refusals, the capability has let pass.
    """

    decided: dict[str, Decision] = field(default_factory=dict)
    screened: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to a model.

    Attributes:
        guard: judges.
        before: what was said before the newest turn of the application.
        newest: that turn, part by part.
        id: of the conversation, for the records.
        max_tokens: most tokens that the LLM may write; None when it is not known.
        refusable: tools whose calls can be refused one by one, since the capability answers in their place.
        ledger: shared with the capability; None when there is none.
    """

    guard: Guard
    before: tuple[Message, ...]
    newest: tuple[ModelRequestPart, ...]
    id: str
    max_tokens: int | None
    refusable: frozenset[str]
    ledger: Ledger | None

    @classmethod
    def of(
        cls,
        guard: Guard,
        messages: Sequence[ModelMessage],
        settings: ModelSettings | None,
        parameters: ModelRequestParameters,
        ledger: Ledger | None,
    ) -> "Exchange":
        """Return the exchange that a request begins."""
        last = messages[-1] if messages else None
        newest = last if isinstance(last, ModelRequest) else ModelRequest([])
        earlier = messages[:-1] if newest is last else messages
        ids = (message.conversation_id for message in reversed(messages) if message.conversation_id)
        tools = [tool.name for tool in parameters.function_tools if tool.kind in ("function", "unapproved")]
        return cls(
            guard,
            tuple(to_guard_messages(earlier, instructions_of(messages))),
            tuple(newest.parts),
            next(ids, None) or uuid.uuid4().hex,
            (settings or {}).get("max_tokens"),
            frozenset(() if ledger is None else tools),
            ledger,
        )

    @property
    def messages(self) -> tuple[Message, ...]:
        """All that was said before the answer."""
        return (*self.before, *read_request(self.newest))

    async def astopping(self) -> Decision | None:
        """Judge what the application says; return the decision that stops it, if one does.

        Tool results are judged here only where no capability has screened them.
        """
        screened = self.ledger.screened if self.ledger else ()
        for part in self.newest:
            if not isinstance(part, ToolReturnPart) or part.tool_call_id in screened:
                continue
            text, unreadable = read_return(part)
            decision = await self.guard.acheck_tool_result(
                self.before, text, tool=part.tool_name, conversation_id=self.id, unreadable=unreadable
            )
            if decision.stopped:
                return decision
        if any(isinstance(part, UserPromptPart) for part in self.newest):
            decision = await self.guard.acheck_prompt(self.messages, conversation_id=self.id)
            return decision if decision.stopped else None
        return None

    async def aopen_stream(self, attempt: Attempt | None = None) -> Stream:
        """Start to moderate the answer, or another attempt at it."""
        return await self.guard.aopen_stream(
            self.messages, conversation_id=self.id, max_tokens=self.max_tokens, attempt=attempt
        )

    def asking_again(self, attempt: Attempt, category: str | None) -> list[ModelMessage]:
        """Return what the LLM is told after a stop: the answer so far, and how to go on."""
        answer = [ModelResponse([TextPart(attempt.answer)])] if attempt.answer else []
        return [*answer, ModelRequest([UserPromptPart(self.guard.policy.repair_message(category))])]

    async def ajudge_call(
        self, before: Sequence[ModelResponsePart], call: ToolCallPart | NativeToolCallPart
    ) -> tuple[ToolCallPart | NativeToolCallPart, Decision]:
        """Return a call as it may leave: itself, or what is left of a refused one.

        Args:
            before: the parts of the answer in front of the call.
            call: the call, whole.
        """
        decision = await self.guard.acheck_tool_call(
            (*self.messages, read_response(before)), to_call(call), conversation_id=self.id
        )
        if self.ledger and not decision.stopped:
            self.ledger.decided[call.tool_call_id] = decision
        if decision.stopped and isinstance(call, ToolCallPart):
            text = self.guard.policy.call_message(decision.category)
            call = replace(call, args={REFUSED: text}, id=None, provider_details=None)
        return call, decision

    def is_ended_by(self, call: ToolCallPart | NativeToolCallPart, decision: Decision) -> bool:
        """Whether a call ends the whole answer: it must not run, and nobody would refuse it or ask a person."""
        can_refuse = isinstance(call, ToolCallPart) and call.tool_name in self.refusable
        return (decision.stopped or decision.asks) and not can_refuse

    def closing_text(self, decision: Decision) -> str:
        """Return the text that follows a stop: the policy's message, or "".

        Raises:
            ContentStopped: the policy raises.
        """
        return closing_text(self.guard.policy, decision)


def with_record(metadata: Mapping[str, Any] | None, decision: Decision) -> dict[str, Any]:
    """Return a response's metadata with the decision's record; it is never sent to an LLM."""
    return {**(metadata or {}), "guardrail": record_values(decision)}

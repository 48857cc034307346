"""One request to a model: who guards it, what was said before, and what is said at a stop."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agents import FunctionTool, Tool
from agents.items import TResponseOutputItem
from openai.types.responses import ResponseFunctionToolCall

from guardrail.adapters.openai_agents.messages import History, as_mapping, read_answer, to_call
from guardrail.adapters.openai_agents.records import run_id
from guardrail.adapters.openai_agents.tools import ToolCallGuardrail, asks_person, refused
from guardrail.adapters.openai_agents.turns import Turn, Turns
from guardrail.closing import closing_text
from guardrail.decision import Decision
from guardrail.guard import Guard
from guardrail.stream import Stream


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to a model.

    Attributes:
        guard: judges.
        history: what the model is asked.
        id: of the conversation, for the records.
        max_tokens: most tokens that the LLM may write; None when it is not known.
        tools: the agent's function tools by name.
        turns: where the guardrails of tools find what stood before a call.
    """

    guard: Guard
    history: History
    id: str
    max_tokens: int | None
    tools: dict[str, FunctionTool]
    turns: Turns

    @classmethod
    def of(
        cls, turns: Turns, history: History, tools: Iterable[Tool], conversation_id: str | None, max_tokens: int | None
    ) -> "Exchange":
        """Return the exchange that a request begins; within a run all of them share the trace's id."""
        named = {tool.name: tool for tool in tools if isinstance(tool, FunctionTool)}
        return cls(turns.guard, history, conversation_id or run_id() or uuid.uuid4().hex, max_tokens, named, turns)

    async def astopping(self) -> Decision | None:
        """Judge what is new; return the decision that stops it, if one does.

        A tool's results are judged here only where its own guardrail has not screened them.
        """
        for result in self.history.results:
            if self.turns.is_screened(result.call_id, result.text):
                continue
            decision = await self.guard.acheck_tool_result(
                self.history.before,
                result.text,
                tool=result.tool,
                conversation_id=self.id,
                unreadable=result.unreadable,
            )
            if decision.stopped:
                return decision
        if self.history.has_user:
            decision = await self.guard.acheck_prompt(self.history.messages, conversation_id=self.id)
            return decision if decision.stopped else None
        return None

    async def aopen_stream(self) -> Stream:
        """Start to moderate the answer."""
        return await self.guard.aopen_stream(self.history.messages, conversation_id=self.id, max_tokens=self.max_tokens)

    async def ajudge_calls(
        self, items: Sequence[TResponseOutputItem]
    ) -> tuple[list[TResponseOutputItem], Decision | None]:
        """Return an answer's items with its calls as they may leave, or the decision on the call that ends it.

        A refused call keeps its name, and its tool's guardrail tells the LLM why in the place of a result. Where there
        is no such guardrail nobody would refuse it, so it ends the answer.
        """
        judged: list[TResponseOutputItem] = []
        for item in items:
            if item.type in ("message", "reasoning", *_UNREAD):
                judged.append(item)
                continue
            decision = await self.guard.acheck_tool_call(
                (*self.history.messages, read_answer(judged)), to_call(as_mapping(item)), conversation_id=self.id
            )
            tool = self.tools.get(item.name) if isinstance(item, ResponseFunctionToolCall) else None
            if not decision.stopped and not (decision.asks and not asks_person(tool)):
                judged.append(item)
            elif isinstance(item, ResponseFunctionToolCall) and _can_refuse(tool, self.guard):
                judged.append(refused(item, self.guard.policy.call_message(decision.category)))
            else:
                return [], decision
        calls = [item.call_id for item in judged if isinstance(item, ResponseFunctionToolCall)]
        self.turns.keep(calls, Turn(self.id, (*self.history.messages, read_answer(judged))))
        return judged, None

    def closing_text(self, decision: Decision) -> str:
        """Return the text that follows a stop: the policy's message, or "".

        Raises:
            ContentStopped: the policy raises.
        """
        return closing_text(self.guard.policy, decision)


_UNREAD = ("image_generation_call", "compaction")
"""Items that hold no text that a guard could read."""


def _can_refuse(tool: FunctionTool | None, guard: Guard) -> bool:
    guardrails = (tool and tool.tool_input_guardrails) or ()
    return any(isinstance(one, ToolCallGuardrail) and one.guard is guard for one in guardrails)

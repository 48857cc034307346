# long: one class with a hook for each step of an agent
"""The guard in an agent: `create_agent(model, tools, middleware=[..., GuardMiddleware(Guard.default())])`.

A user turn is read before the model is asked, the answer while it streams, a tool call before it runs, and what the
tool brings back before anybody sees it. All of it is one conversation for the guard, so nothing is read twice.
"""

try:
    import langchain.agents as _agents  # noqa: F401 - asked for here so that its absence is told in one place
except ImportError as error:
    from guardrail.errors import MissingExtra

    raise MissingExtra("langchain", "agents") from error

import json
import uuid
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Any

from langchain.agents.middleware import (
    AgentMiddleware,
    AgentState,
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
    ToolCallRequest,
    hook_config,
)
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, SystemMessage, ToolMessage
from langchain_core.messages import ToolCall as LangChainCall
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.runtime import Runtime
from langgraph.types import Command

from guardrail.actions import Action
from guardrail.adapters.langchain.approval import ask, can_ask, edited, rejection
from guardrail.adapters.langchain.calls import call_book
from guardrail.adapters.langchain.chat_model import GuardedChatModel
from guardrail.adapters.langchain.chunks import as_generation
from guardrail.adapters.langchain.exchange import Exchange, checked_guard, conversation_id
from guardrail.adapters.langchain.gating import stopped_prompt
from guardrail.adapters.langchain.messages import to_guard_messages
from guardrail.adapters.langchain.middleware_calls import (
    Ruling,
    before_call,
    before_result,
    harder,
    recorded,
    refused,
)
from guardrail.adapters.langchain.middleware_results import Screener
from guardrail.adapters.langchain.middleware_structure import aanswered, answered, without_refused_structure
from guardrail.adapters.langchain.middleware_turns import (
    behind_answer,
    changes,
    following,
    is_refused,
    is_refused_prompt,
    reading_key,
    without_stopped,
)
from guardrail.adapters.langchain.recent import Recent
from guardrail.conversation import Message, Role, ToolCall
from guardrail.decision import Decision
from guardrail.guard import Guard
from guardrail.policy_file import PolicySource
from guardrail.waiting import Steps, Wait, arun, run, wait

Answered = ModelResponse[Any] | AIMessage | ExtendedModelResponse[Any]
Brought = ToolMessage | Command[Any]


class GuardMiddleware(AgentMiddleware[AgentState[Any], Any, Any]):
    """Guards an agent of `create_agent`. Safe for many threads, tasks and agents at once.

    Put it last: then it stands directly around the model and the tools, and what other middleware changes is read too.

    - A user turn that is stopped ends the run with an AI message (`finish_reason` "content_filter", the decision under
      "guardrail" in its `response_metadata`, its text by the policy's `on_stop`). The turn stays in the state, where it
      was written, but later model calls do not see it.
    - Answers are gated as by `GuardedChatModel`, in every outlet.
    - A tool call runs if the policy lets it. A stopped one has lost its arguments before it leaves the model, and is
      answered by a `ToolMessage` that says so. One that the policy holds for a person waits in a LangGraph interrupt of
      the shape of `HumanInTheLoopMiddleware`; without a checkpointer nobody can be asked, and it is refused.
    - What a tool returns is screened inside the tool's run: callbacks, traces, state and model see what may be handed
      on. An exception of a tool passes unchanged; a message that is made of it is screened before the model sees it.

    Attributes:
        guard: judges.
    """

    def __init__(self, guard: Guard, policy: PolicySource | None = None) -> None:
        """Make a middleware.

        Args:
            guard: judges.
            policy: decides instead of the guard's own: a ready policy's name, a TOML file, or a policy.

        Raises:
            ConfigurationError: `guard` is no Guard, or the policy cannot be read (PolicyError).
        """
        super().__init__()
        self.tools: Sequence[BaseTool] = []
        self.guard: Guard = checked_guard(guard)
        if policy is not None:
            self.guard = guard.with_policy(policy)
        self._read: Recent[bool] = Recent()
        self._systems: Recent[SystemMessage | None] = Recent()

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> Answered:
        """Read what is new in the conversation, then let a guarded model answer.

        Raises:
            ContentStopped: something was stopped, and the policy raises.
        """
        return run(self._answering(request, partial(answered, handler)))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> Answered:
        """As `wrap_model_call`, without blocking the event loop."""
        return await arun(self._answering(request, partial(aanswered, handler)))

    @hook_config(can_jump_to=["end"])
    def after_model(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:  # noqa: ARG002 - the hook's signature
        """End the run at a stop, whatever the agent would do about an answer without its structure."""
        return {"jump_to": "end"} if is_refused(state["messages"][-1]) else None

    @hook_config(can_jump_to=["end"])
    async def aafter_model(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """As `after_model`."""
        return self.after_model(state, runtime)

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Brought]) -> Brought:
        """Run a tool if its call may be run, and screen what it returns."""
        return run(self._calling(request, handler))

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Brought]]
    ) -> Brought:
        """As `wrap_tool_call`, without blocking the event loop."""
        return await arun(self._calling(request, handler))

    def _answering(self, request: ModelRequest[Any], handler: Callable[..., Any]) -> Steps[Answered]:
        """Read new user turns and tool results, then ask the model.

        This is done here and not in a node before the model, since only here stands what the model will see: the system
        prompt, and the conversation as other middleware leaves it.
        """
        if request.messages and is_refused_prompt(last := request.messages[-1]):
            return ModelResponse(result=[last])  # asked again without a new turn
        talk = _talk(request.messages)
        self._systems.keep(talk, request.system_message)
        before = without_stopped(request.messages)
        messages = yield from self._reading(before, talk)
        if isinstance(messages, AIMessage):
            return messages
        guarded = request.override(model=self._guarded(request.model), messages=messages)
        response: ModelResponse[Any] = yield _handled(handler, guarded, talk)
        response = without_refused_structure(response, self.guard.policy)
        changed = changes(request.state["messages"], before, messages)
        return ExtendedModelResponse(response, Command(update={"messages": changed})) if changed else response

    def _reading(self, messages: Sequence[AnyMessage], talk: str) -> Steps[list[AnyMessage] | AIMessage]:
        """Return the conversation that the model may see, or the answer to a user turn that is stopped.

        Raises:
            ContentStopped: a turn is stopped, and the policy raises.
        """
        roles = [message.role for message in to_guard_messages(messages)]
        asking = max((i for i, role in enumerate(roles) if role is Role.USER), default=None)
        answered_to = behind_answer(messages)
        kept: list[AnyMessage] = []
        place = b""
        for i, given in enumerate(messages):
            role, message = (roles[i] if i >= answered_to or i == asking else None), given
            if role is Role.TOOL:
                screener = self._screener(self._turns(kept, talk), message.name or "", talk)
                message = yield from screener.screening_message(message)
            here = following(place, message)
            if role is Role.USER:
                refusal = yield from self._refusing([*kept, message], (talk, here), talk, is_asking=i == asking)
                if refusal:
                    return refusal
            if role is not Role.USER or self._read.find((talk, here)) is not False:
                kept.append(message)
                place = here
        return kept

    def _refusing(
        self, messages: Sequence[AnyMessage], key: Hashable, talk: str, *, is_asking: bool
    ) -> Steps[AIMessage | None]:
        """Read the last message, a user's, unless that is done; return the answer to it if it is stopped.

        One that was stopped when the policy raised is only left out, once there is another turn to answer.
        """
        may_pass = self._read.find(key)
        if may_pass or (may_pass is False and not is_asking):
            return None
        guard, turns = self.guard, self._turns(messages, talk)
        decision: Decision = yield wait(guard.check_prompt, guard.acheck_prompt, turns, conversation_id=talk)
        self._read.keep(key, not decision.stopped)
        return _refusal(Exchange(guard, turns, talk), decision) if decision.stopped else None

    def _calling(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Steps[Brought]:
        messages = without_stopped(request.state["messages"])
        talk = _talk(messages, request.runtime.config)
        found = yield from self._permitting(request, messages, talk)
        if isinstance(found, ToolMessage):
            return found
        call_id = found.tool_call["id"]
        turns = self._turns(before_result(messages, call_id), talk)
        screener = self._screener(turns, found.tool_call["name"], talk)
        if found.tool and call_id:
            found = found.override(tool=screener.tool_within(found.tool, call_id))
        result = yield _handled(handler, found)
        brought: Brought = yield from screener.screening(result)
        return brought

    def _permitting(
        self, request: ToolCallRequest, messages: list[AnyMessage], talk: str
    ) -> Steps[ToolCallRequest | ToolMessage]:
        """Return the call that may be run, or what the model is told instead."""
        policy, call = self.guard.policy, request.tool_call
        earlier = recorded(messages, call["id"])
        if earlier and earlier.action is Action.STOP:
            return self._told(call, policy.call_message(earlier.category), earlier, talk)
        ruling = harder((yield from self._judging(request, messages, talk)), earlier)
        if ruling.action is Action.ASK and can_ask(request.runtime.config):
            answer = ask(request, ruling)
            if answer["type"] == "approve":
                return request
            if answer["type"] == "reject":
                return self._told(call, rejection(call, answer.get("message")), ruling, talk)
            request = edited(request, answer["edited_action"]["name"], answer["edited_action"]["args"])
            ruling = yield from self._judging(request, messages, talk)
            if ruling.action is Action.ASK:
                return request  # whoever would be asked has written it
        if ruling.action not in {Action.STOP, Action.ASK}:
            return request
        text = policy.call_message(ruling.category)
        if ruling.action is Action.ASK:
            text = f"{text} {NOBODY}"
        return self._told(request.tool_call, text, ruling, talk)

    def _judging(self, request: ToolCallRequest, messages: list[AnyMessage], talk: str) -> Steps[Ruling]:
        """Return what was decided on a call while it streamed, if it is still the same; else judge it now."""
        call, book = request.tool_call, call_book(self.guard)
        name, args, call_id = call["name"], call["args"], call["id"] or ""
        decision = book.find(talk, call_id, name, args)
        if decision is None:
            turns = self._turns(before_call(messages, call_id), talk)
            whole = ToolCall(name, json.dumps(args, ensure_ascii=False, default=str))
            guard = self.guard
            decision = yield wait(guard.check_tool_call, guard.acheck_tool_call, turns, whole, conversation_id=talk)
            book.keep(talk, call_id, name, args, decision)
        return Ruling.of(decision)

    def _told(self, call: LangChainCall, text: str, ruling: Ruling, talk: str) -> ToolMessage:
        """Return what the model is told in place of a result; it is ours or a person's, and not read again."""
        message = refused(call, text, ruling)
        self._read.keep(reading_key(talk, message), value=True)
        return message

    def _turns(self, messages: Sequence[BaseMessage], talk: str) -> tuple[Message, ...]:
        """Return a conversation as the guard reads it, with the system prompt that the model was last asked with."""
        system = self._systems.find(talk)
        return to_guard_messages([*([system] if system else []), *messages])

    def _screener(self, turns: tuple[Message, ...], tool: str, talk: str) -> Screener:
        return Screener(self.guard, turns, talk, tool, self._read)

    def _guarded(self, model: BaseChatModel) -> GuardedChatModel:
        inner = model.inner if isinstance(model, GuardedChatModel) and model.guard is self.guard else model
        return GuardedChatModel(inner, self.guard, checks_prompt=False, on_call="mark")


NOBODY = "A person would have to approve it, and nobody can be asked in this run."
"""Said of a call that waits for a person in an agent without a checkpointer."""


def _talk(messages: Sequence[BaseMessage], config: RunnableConfig | None = None) -> str:
    """Return the conversation's id: that of the settings, or else the first message's, which stays the same."""
    return conversation_id(config) or next((message.id for message in messages if message.id), None) or uuid.uuid4().hex


def _handled(handler: Callable[..., Any], *given: Any) -> Wait:
    """Wait for a handler that is as synchronous as the run is."""
    call = partial(handler, *given)
    return Wait(call, call)


def _refusal(exchange: Exchange, decision: Decision) -> AIMessage:
    """Return the answer to a user turn that was stopped.

    Raises:
        ContentStopped: the policy raises.
    """
    message = as_generation(stopped_prompt(exchange, decision)).message
    return message if isinstance(message, AIMessage) else AIMessage(message.content)

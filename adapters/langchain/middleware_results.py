"""Tool results of an agent, whatever form they have: what the model may see of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, ToolMessage, convert_to_messages
from langchain_core.tools import BaseTool, ToolException
from langchain_core.tools.base import _format_output, _handle_tool_error
from langgraph.types import Command

from guardrail.adapters.langchain.messages import every_text, holds_media_itself
from guardrail.adapters.langchain.middleware_turns import reading_key
from guardrail.adapters.langchain.recent import Recent
from guardrail.conversation import Message
from guardrail.guard import Guard
from guardrail.records import record_values
from guardrail.screening import Screened
from guardrail.waiting import Steps, arun, run, wait

M = TypeVar("M", bound=BaseMessage)


@dataclass(frozen=True, slots=True)
class Screener:
    """Screens the results of one tool call. Safe for many threads and tasks.

    Attributes:
        guard: judges.
        conversation: what stands before the result.
        conversation_id: for the records, and so that nothing is read twice.
        tool: name of the tool.
        read: results that have been screened already.
    """

    guard: Guard
    conversation: tuple[Message, ...]
    conversation_id: str
    tool: str
    read: Recent[bool]

    def screening(self, result: Any) -> Steps[Any]:
        """Return what may be handed on of a result: of a message, a `Command`, or a list of these."""
        if isinstance(result, list):
            return (yield from self._screening_each(result))
        if isinstance(result, Command):
            return (yield from self._screening_command(result))
        return (yield from self.screening_message(result))

    def screening_message(self, message: M) -> Steps[M]:
        """Return a message whose content the model may see; a stopped one keeps nothing else of what it had."""
        if isinstance(message, RemoveMessage) or self.read.find(reading_key(self.conversation_id, message)):
            return message
        text, unreadable = read_content(message.content)
        screened = yield from self._judging(text, unreadable)
        metadata = {"guardrail": record_values(screened.decision)}
        if screened.decision.stopped:
            is_listed = isinstance(message.content, list)
            content = [{"type": "text", "text": screened.text}] if is_listed else screened.text
            changed: dict[str, Any] = {"content": content, "additional_kwargs": {}, "response_metadata": metadata}
            changed |= {"artifact": None} if isinstance(message, ToolMessage) else {}
            changed |= {"tool_calls": [], "invalid_tool_calls": []} if isinstance(message, AIMessage) else {}
        else:
            changed = {"response_metadata": {**message.response_metadata, **metadata}}
        kept = message.model_copy(update=changed)
        self.read.keep(reading_key(self.conversation_id, kept), value=True)
        return kept

    def _screening_each(self, results: Sequence[Any]) -> Steps[list[Any]]:
        screened = []
        for one in results:
            screened.append((yield from self.screening(one)))  # noqa: PERF401 - a comprehension cannot wait
        return screened

    def tool_within(self, tool: BaseTool, call_id: str) -> BaseTool:
        """Return a tool that screens its result inside its run: its callbacks and traces see the screened one."""

        @wraps(tool._run)
        def screened(*args: Any, **kwargs: Any) -> Any:
            try:
                output = tool._run(*args, **kwargs)
            except ToolException as error:
                output = _told_of(error, tool, call_id)
            return run(self._screening_output(tool, call_id, output))

        @wraps(tool._arun)
        async def ascreened(*args: Any, **kwargs: Any) -> Any:
            try:
                output = await tool._arun(*args, **kwargs)
            except ToolException as error:
                output = _told_of(error, tool, call_id)
            return await arun(self._screening_output(tool, call_id, output))

        copy = tool.model_copy()
        object.__setattr__(copy, "_run", screened)  # the model's own way would refuse what is no field
        object.__setattr__(copy, "_arun", ascreened)
        return copy

    def _judging(self, text: str, unreadable: tuple[str, ...]) -> Steps[Screened]:
        guard = self.guard
        screened: Screened = yield wait(
            guard.screen_tool_result, guard.ascreen_tool_result, self.conversation, text,
            tool=self.tool, conversation_id=self.conversation_id, unreadable=unreadable,
        )  # fmt: skip
        return screened

    def _screening_command(self, command: Command[Any]) -> Steps[Command[Any]]:
        update = dict(command._update_as_tuples())  # an update may also be pairs, or an object of a state's class
        if "messages" not in update:
            return command
        given = update["messages"]
        listed = convert_to_messages(given if isinstance(given, list) else [given])
        messages = yield from self._screening_each(listed)
        return replace(command, update={**update, "messages": messages})

    def _screening_output(self, tool: BaseTool, call_id: str, output: Any) -> Steps[Any]:
        """Screen what a tool's own code returned, in the form that the rest of its run expects."""
        has_artifact = tool.response_format == "content_and_artifact"
        if has_artifact and not (isinstance(output, tuple) and len(output) == 2):
            return output  # the run refuses it
        content, artifact = output if has_artifact else (output, None)
        formed = _format_output(content, artifact, call_id, tool.name, "success")
        screened = yield from self.screening(formed)
        return (screened, None) if has_artifact else screened


def _told_of(error: ToolException, tool: BaseTool, call_id: str) -> Any:
    """Return what a tool that handles its own errors says of one, as its run would.

    Raises:
        ToolException: it does not handle them.
    """
    if not tool.handle_tool_error:
        raise error
    text = _handle_tool_error(error, flag=tool.handle_tool_error)
    told = _format_output(text, None, call_id, tool.name, "error")
    return (told, None) if tool.response_format == "content_and_artifact" else told


def read_content(content: str | list[Any]) -> tuple[str, tuple[str, ...]]:
    """Return all text of a result, and the kinds of blocks that hold what cannot be read."""
    if isinstance(content, str):
        return content, ()
    kinds = tuple(str(block["type"]) for block in content if isinstance(block, Mapping) and _holds_media(block))
    return "\n".join(text for block in content for text in every_text(block)), kinds


def _holds_media(value: object) -> bool:
    if isinstance(value, Mapping):
        return holds_media_itself(value) or any(map(_holds_media, value.values()))
    return isinstance(value, list) and any(map(_holds_media, value))

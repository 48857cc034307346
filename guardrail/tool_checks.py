"""The part of the facade that judges tool calls, tool results and documents, sync and async."""

from collections.abc import Sequence
from typing import Any

from guardrail.checking import checking_text
from guardrail.context import Context
from guardrail.conversation import Conversation, ToolCall, to_messages
from guardrail.decision import Decision, Direction
from guardrail.driving import adrive, drive
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine
from guardrail.reading import AnswerReader
from guardrail.screening import Screened, screening
from guardrail.stream import Stream
from guardrail.tape import Steps
from guardrail.tool_calls import CALL_CLOSING, ToolCallStream, call_opening


class ToolChecks:
    """What a `Guard` does for agents."""

    engine: Engine
    _tokenizer: GuardTokenizer

    def check_tool_call(
        self, conversation: Conversation, call: ToolCall, *, conversation_id: str | None = None
    ) -> Decision:
        """Judge a whole tool call token by token, decide and record; it may run if it is neither stopped nor asks.

        Args:
            conversation: what stands before; if it ends with an assistant's message, that is the turn that calls.
            call: name and arguments.
            conversation_id: your id of the conversation: for the record, and so that nothing is read twice.

        Raises:
            ConversationError: the messages cannot be read.
        """
        with self.open_tool_call(conversation, call.name, conversation_id=conversation_id) as stream:
            stream.feed(call.arguments)
            return stream.finish()

    async def acheck_tool_call(
        self, conversation: Conversation, call: ToolCall, *, conversation_id: str | None = None
    ) -> Decision:
        """As `check_tool_call`, without blocking the event loop."""
        with await self.aopen_tool_call(conversation, call.name, conversation_id=conversation_id) as stream:
            await stream.afeed(call.arguments)
            return await stream.afinish()

    def open_tool_call(
        self, conversation: Conversation, name: str, *, conversation_id: str | None = None
    ) -> ToolCallStream:
        """Start to moderate a tool call whose arguments stream.

        Raises:
            ConversationError: the messages cannot be read.
        """
        stream = self._new_call(conversation, name, conversation_id)
        stream.open()
        return ToolCallStream(stream, name)

    async def aopen_tool_call(
        self, conversation: Conversation, name: str, *, conversation_id: str | None = None
    ) -> ToolCallStream:
        """As `open_tool_call`, without blocking the event loop."""
        stream = self._new_call(conversation, name, conversation_id)
        await stream.aopen()
        return ToolCallStream(stream, name)

    def check_tool_result(
        self, conversation: Conversation, text: str, *, tool: str, conversation_id: str | None = None
    ) -> Decision:
        """Judge what a tool brought back, decide and record.

        Args:
            conversation: what stands before the result.
            text: the result.
            tool: the tool's name, for its rule and the record.
            conversation_id: as elsewhere.

        Raises:
            ConversationError: the messages cannot be read.
        """
        return drive(self.engine, self._checking(Direction.TOOL_RESULT, conversation, text, tool, conversation_id))

    async def acheck_tool_result(
        self, conversation: Conversation, text: str, *, tool: str, conversation_id: str | None = None
    ) -> Decision:
        """As `check_tool_result`, without blocking the event loop."""
        steps = self._checking(Direction.TOOL_RESULT, conversation, text, tool, conversation_id)
        return await adrive(self.engine, steps)

    def screen_tool_result(
        self, conversation: Conversation, text: str, *, tool: str, conversation_id: str | None = None
    ) -> Screened:
        """As `check_tool_result`; also return what the LLM may see: the result, an extract, or a message.

        Raises:
            ConversationError: the messages cannot be read.
        """
        return drive(self.engine, self._screening(conversation, text, tool, conversation_id))

    async def ascreen_tool_result(
        self, conversation: Conversation, text: str, *, tool: str, conversation_id: str | None = None
    ) -> Screened:
        """As `screen_tool_result`, without blocking the event loop."""
        return await adrive(self.engine, self._screening(conversation, text, tool, conversation_id))

    def check_documents(
        self, documents: Sequence[str], conversation: Conversation = (), *, conversation_id: str | None = None
    ) -> tuple[Decision, ...]:
        """Judge retrieved documents, each by itself as a tool result is; decide and record.

        Raises:
            ConversationError: the messages cannot be read.
        """
        checks = [self._checking(Direction.DOCUMENT, conversation, one, None, conversation_id) for one in documents]
        return tuple(drive(self.engine, steps) for steps in checks)

    async def acheck_documents(
        self, documents: Sequence[str], conversation: Conversation = (), *, conversation_id: str | None = None
    ) -> tuple[Decision, ...]:
        """As `check_documents`, without blocking the event loop."""
        checks = [self._checking(Direction.DOCUMENT, conversation, one, None, conversation_id) for one in documents]
        return tuple([await adrive(self.engine, steps) for steps in checks])

    def _checking(
        self, direction: Direction, conversation: Conversation, text: str, tool: str | None, conversation_id: str | None
    ) -> Steps[Decision]:
        context = self._context(conversation_id, direction, tool=tool)
        return checking_text(context, self._tokenizer, to_messages(conversation), text)

    def _screening(
        self, conversation: Conversation, text: str, tool: str, conversation_id: str | None
    ) -> Steps[Screened]:
        context = self._context(conversation_id, Direction.TOOL_RESULT, tool=tool)
        return screening(context, self._tokenizer, to_messages(conversation), text)

    def _new_call(self, conversation: Conversation, name: str, conversation_id: str | None) -> Stream:
        messages, opening = call_opening(to_messages(conversation))
        context = self._context(conversation_id, Direction.TOOL_CALL, tool=name)
        reader = AnswerReader(
            context.tapes, self._tokenizer, messages, context.policy.too_long, opening=opening, closing=CALL_CLOSING
        )
        return Stream(context, reader)

    def _context(self, conversation_id: str | None, direction: Direction, **details: Any) -> Context:
        raise NotImplementedError

"""The part of the facade that judges tool calls, tool results and documents, sync and async."""

from collections.abc import Sequence
from typing import Any

from guardrail.checking import checking_result
from guardrail.context import Context
from guardrail.conversation import Conversation, Message, Role, ToolCall, to_messages
from guardrail.decision import Decision, Direction
from guardrail.driving import adrive, drive
from guardrail.engines.base import Engine
from guardrail.prefixes import Owner
from guardrail.screening import Screened, screening
from guardrail.stream import Stream
from guardrail.tape import Steps
from guardrail.tool_calls import ToolCallStream


class ToolChecks:
    """What a `Guard` does for agents."""

    engine: Engine

    def check_tool_call(
        self,
        conversation: Conversation,
        call: ToolCall,
        *,
        conversation_id: str | None = None,
        tenant: str | None = None,
    ) -> Decision:
        """Judge a whole tool call token by token, decide and record; it may run if it is neither stopped nor asks.

        Args:
            conversation: what stands before; if it ends with an assistant's message, that is the turn that calls.
            call: name and arguments.
            conversation_id: your id of the conversation: for the record, and so that nothing is read twice.
            tenant: whose text it is; what is read for one tenant is never used for another.

        Raises:
            ConversationError: the messages cannot be read.
        """
        with self.open_tool_call(conversation, call.name, conversation_id=conversation_id, tenant=tenant) as stream:
            stream.feed(call.arguments)
            return stream.finish()

    async def acheck_tool_call(
        self,
        conversation: Conversation,
        call: ToolCall,
        *,
        conversation_id: str | None = None,
        tenant: str | None = None,
    ) -> Decision:
        """As `check_tool_call`, without blocking the event loop."""
        opened = self.aopen_tool_call(conversation, call.name, conversation_id=conversation_id, tenant=tenant)
        with await opened as stream:
            await stream.afeed(call.arguments)
            return await stream.afinish()

    def open_tool_call(
        self, conversation: Conversation, name: str, *, conversation_id: str | None = None, tenant: str | None = None
    ) -> ToolCallStream:
        """Start to moderate a tool call whose arguments stream.

        Raises:
            ConversationError: the messages cannot be read.
        """
        stream = self._new_call(conversation, name, Owner(tenant, conversation_id))
        stream.open()
        return ToolCallStream(stream, name)

    async def aopen_tool_call(
        self, conversation: Conversation, name: str, *, conversation_id: str | None = None, tenant: str | None = None
    ) -> ToolCallStream:
        """As `open_tool_call`, without blocking the event loop."""
        stream = self._new_call(conversation, name, Owner(tenant, conversation_id))
        await stream.aopen()
        return ToolCallStream(stream, name)

    def check_tool_result(
        self,
        conversation: Conversation,
        text: str,
        *,
        tool: str,
        conversation_id: str | None = None,
        tenant: str | None = None,
        unreadable: Sequence[str] = (),
    ) -> Decision:
        """Judge what a tool brought back, decide and record.

        Args:
            conversation: what stands before the result.
            text: the result.
            tool: the tool's name, for its rule and the record.
            conversation_id: as elsewhere.
            tenant: as elsewhere.
            unreadable: kinds of parts beside the text that cannot be read, such as "image": the policy says what then.

        Raises:
            ConversationError: the messages cannot be read.
        """
        context = self._context(Owner(tenant, conversation_id), Direction.TOOL_RESULT, tool=tool)
        return drive(self.engine, self._checking(context, conversation, text, unreadable))

    async def acheck_tool_result(
        self,
        conversation: Conversation,
        text: str,
        *,
        tool: str,
        conversation_id: str | None = None,
        tenant: str | None = None,
        unreadable: Sequence[str] = (),
    ) -> Decision:
        """As `check_tool_result`, without blocking the event loop."""
        context = self._context(Owner(tenant, conversation_id), Direction.TOOL_RESULT, tool=tool)
        return await adrive(self.engine, self._checking(context, conversation, text, unreadable))

    def screen_tool_result(
        self,
        conversation: Conversation,
        text: str,
        *,
        tool: str,
        conversation_id: str | None = None,
        tenant: str | None = None,
        unreadable: Sequence[str] = (),
    ) -> Screened:
        """As `check_tool_result`; also return what the LLM may see: the result, an extract, or a message.

        Raises:
            ConversationError: the messages cannot be read.
        """
        context = self._context(Owner(tenant, conversation_id), Direction.TOOL_RESULT, tool=tool)
        return drive(self.engine, self._screening(context, conversation, text, unreadable))

    async def ascreen_tool_result(
        self,
        conversation: Conversation,
        text: str,
        *,
        tool: str,
        conversation_id: str | None = None,
        tenant: str | None = None,
        unreadable: Sequence[str] = (),
    ) -> Screened:
        """As `screen_tool_result`, without blocking the event loop."""
        context = self._context(Owner(tenant, conversation_id), Direction.TOOL_RESULT, tool=tool)
        return await adrive(self.engine, self._screening(context, conversation, text, unreadable))

    def check_documents(
        self,
        documents: Sequence[str],
        conversation: Conversation = (),
        *,
        tool: str | None = None,
        conversation_id: str | None = None,
        tenant: str | None = None,
    ) -> tuple[Decision, ...]:
        """Judge retrieved documents, each by itself as a tool result is; decide and record.

        Args:
            documents: texts.
            conversation: what stands before.
            tool: what they come from or describe, for the record.
            conversation_id: as elsewhere.
            tenant: as elsewhere.

        Raises:
            ConversationError: the messages cannot be read.
        """
        checks = self._checking_all(documents, conversation, tool, Owner(tenant, conversation_id))
        return tuple(drive(self.engine, steps) for steps in checks)

    async def acheck_documents(
        self,
        documents: Sequence[str],
        conversation: Conversation = (),
        *,
        tool: str | None = None,
        conversation_id: str | None = None,
        tenant: str | None = None,
    ) -> tuple[Decision, ...]:
        """As `check_documents`, without blocking the event loop."""
        checks = self._checking_all(documents, conversation, tool, Owner(tenant, conversation_id))
        return tuple([await adrive(self.engine, steps) for steps in checks])

    def _checking_all(
        self, documents: Sequence[str], conversation: Conversation, tool: str | None, owner: Owner
    ) -> list[Steps[Decision]]:
        contexts = [self._context(owner, Direction.DOCUMENT, tool=tool) for _ in documents]
        return [self._checking(one, conversation, text, ()) for one, text in zip(contexts, documents, strict=True)]

    def _checking(
        self, context: Context, conversation: Conversation, text: str, unreadable: Sequence[str]
    ) -> Steps[Decision]:
        result = Message(Role.TOOL, text, unreadable=tuple(unreadable))
        return checking_result(context, to_messages(conversation), result)

    def _screening(
        self, context: Context, conversation: Conversation, text: str, unreadable: Sequence[str]
    ) -> Steps[Screened]:
        result = Message(Role.TOOL, text, unreadable=tuple(unreadable))
        return screening(context, to_messages(conversation), result)

    def _new_call(self, conversation: Conversation, name: str, owner: Owner) -> Stream:
        messages = to_messages(conversation)
        context = self._context(owner, Direction.TOOL_CALL, tool=name)
        return Stream(context, context.read_answer(messages, is_call=True))

    def _context(self, owner: Owner, direction: Direction, **details: Any) -> Context:
        raise NotImplementedError

"""The part of the facade that judges whole turns, whoever speaks: one, or many side by side as in data sets."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from guardrail.conversation import Conversation, Message, Role, to_messages
from guardrail.decision import Decision
from guardrail.driving import adrive, drive, drive_many
from guardrail.engines.base import Engine
from guardrail.engines.runtime import Runtime
from guardrail.prefixes import Owner
from guardrail.stream import Stream
from guardrail.tape import Steps
from guardrail.tool_calls import ToolCallStream

AT_ONCE = 8
"""Texts under way at once: measured in docs/scan.md; more gain nothing, and each holds a KV cache."""

CALL_TOKENS = Runtime().step_tokens


@dataclass(frozen=True, slots=True)
class Check:
    """A text to judge.

    Attributes:
        conversation: one user message as text, or messages.
        answer: the answer to them that is judged: its text, or the assistant's turn with all that it holds; None judges
            the last user turn or tool result.
        conversation_id: as in `Guard.check_prompt`.
        tenant: as in `Guard.check_prompt`.
    """

    conversation: Conversation
    answer: str | Message | None = None
    conversation_id: str | None = None
    tenant: str | None = None


class Batches:
    """How a `Guard` judges whole turns."""

    engine: Engine

    def check_turn(
        self, conversation: Conversation, *, conversation_id: str | None = None, tenant: str | None = None
    ) -> Decision:
        """Judge the last turn, whoever speaks, decide and record; a user's or a tool's as `check_prompt` does.

        Of the assistant's, reasoning and text are judged as an answer, in which parts that cannot be read count as the
        policy says, then each tool call. Each has its record; the hardest decision, the first of them, is returned.

        Args:
            conversation: one user message as text, or messages.
            conversation_id: as in `Guard.check_prompt`.
            tenant: as in `Guard.check_prompt`.

        Raises:
            ConversationError: the messages cannot be read or hold nothing to judge.
        """
        return drive(self.engine, self._checking_last(conversation, Owner(tenant, conversation_id)))

    async def acheck_turn(
        self, conversation: Conversation, *, conversation_id: str | None = None, tenant: str | None = None
    ) -> Decision:
        """As `check_turn`, without blocking the event loop."""
        return await adrive(self.engine, self._checking_last(conversation, Owner(tenant, conversation_id)))

    def check_many(
        self, checks: Iterable[Check], *, at_once: int = AT_ONCE, call_tokens: int = CALL_TOKENS
    ) -> Iterator[Decision]:
        """Judge texts side by side, decide and record; yield a decision for each, in their order.

        Texts share calls of the model, which makes short ones a quarter faster. The same checks in the same order
        give the same numbers, to the last bit if the guard keeps nothing (`kept_bytes=0`) and the engine serves nobody
        else meanwhile.

        Args:
            checks: taken as they are needed.
            at_once: most that are under way.
            call_tokens: most tokens of a call that several share; more than the engine's `step_tokens` are cut.

        Raises:
            ConversationError: messages cannot be read or hold nothing to judge; those under way are given up.
        """
        return drive_many(self.engine, map(self._judging_one, checks), at_once=at_once, call_tokens=call_tokens)

    def _judging_one(self, check: Check) -> Steps[Decision]:
        owner = Owner(check.tenant, check.conversation_id)
        if check.answer is None:
            return self._checking_prompt(check.conversation, owner)
        turn = Message(Role.ASSISTANT, check.answer) if isinstance(check.answer, str) else check.answer
        return self._checking_answer(to_messages(check.conversation), turn, owner)

    def _checking_last(self, conversation: Conversation, owner: Owner) -> Steps[Decision]:
        messages = to_messages(conversation)
        if messages and messages[-1].role is Role.ASSISTANT:
            return self._checking_answer(messages[:-1], messages[-1], owner)
        return self._checking_prompt(messages, owner)

    def _checking_answer(self, before: tuple[Message, ...], turn: Message, owner: Owner) -> Steps[Decision]:
        """Judge all that an assistant's turn holds; the hardest decision counts."""
        stream = self._new_stream(before, owner, unreadable=turn.unreadable)
        decisions = [(yield from stream.checking(turn.content, reasoning=turn.reasoning))]
        for i, call in enumerate(turn.tool_calls):
            said = replace(turn, tool_calls=turn.tool_calls[:i])
            making = ToolCallStream(self._new_call((*before, said), call.name, owner), call.name)
            decisions.append((yield from making.checking(call.arguments)))
        return max(decisions, key=lambda decision: decision.would_action.rank)

    def _checking_prompt(self, conversation: Conversation, owner: Owner) -> Steps[Decision]:
        raise NotImplementedError

    def _new_stream(self, conversation: Conversation, owner: Owner, **details: Any) -> Stream:
        raise NotImplementedError

    def _new_call(self, conversation: Conversation, name: str, owner: Owner) -> Stream:
        raise NotImplementedError

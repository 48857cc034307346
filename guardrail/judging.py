"""The part of the facade that gives bare verdicts: no policy, no record."""

from dataclasses import replace
from typing import Any

from guardrail.checking import judging_prompt
from guardrail.context import Context
from guardrail.conversation import Conversation, to_messages
from guardrail.decision import Direction
from guardrail.driving import adrive, drive
from guardrail.engines.base import Engine
from guardrail.policy import TooLong
from guardrail.prefixes import Owner
from guardrail.tape import Steps
from guardrail.verdict import TokenVerdict, Verdict


class Judging:
    """What a `Guard` says without deciding."""

    engine: Engine

    def judge_prompt(self, conversation: Conversation, *, tenant: str | None = None) -> Verdict:
        """Return the bare verdict on the last user turn or tool result; no policy, no record.

        Args:
            conversation: one user message as text, or messages.
            tenant: whose text it is; what is read for one tenant is never used for another.

        Raises:
            ConversationError: the messages cannot be read or hold no user or tool turn.
            EngineError: the model failed.
        """
        return drive(self.engine, self._judging_prompt(conversation, tenant))

    async def ajudge_prompt(self, conversation: Conversation, *, tenant: str | None = None) -> Verdict:
        """As `judge_prompt`, without blocking the event loop."""
        return await adrive(self.engine, self._judging_prompt(conversation, tenant))

    def judge_response(
        self, conversation: Conversation, text: str, *, reasoning: str = "", tenant: str | None = None
    ) -> tuple[TokenVerdict, ...]:
        """Return the verdict at every token of an answer, with its span; no policy, no record.

        Args:
            conversation: what is answered.
            text: the answer.
            reasoning: what the model thought before it; spans count its characters first.
            tenant: as in `judge_prompt`.

        Raises:
            ConversationError: the messages cannot be read.
            EngineError: the model failed.
        """
        return drive(self.engine, self._judging_response(conversation, text, reasoning, tenant))

    async def ajudge_response(
        self, conversation: Conversation, text: str, *, reasoning: str = "", tenant: str | None = None
    ) -> tuple[TokenVerdict, ...]:
        """As `judge_response`, without blocking the event loop."""
        return await adrive(self.engine, self._judging_response(conversation, text, reasoning, tenant))

    def _judging_prompt(self, conversation: Conversation, tenant: str | None) -> Steps[Verdict]:
        return judging_prompt(self._context(Owner(tenant), Direction.PROMPT), to_messages(conversation))

    def _judging_response(
        self, conversation: Conversation, text: str, reasoning: str, tenant: str | None
    ) -> Steps[tuple[TokenVerdict, ...]]:
        context = self._context(Owner(tenant), Direction.RESPONSE)
        sliding = replace(context, policy=replace(context.policy, too_long=TooLong.SLIDE))
        reader = sliding.read_answer(to_messages(conversation))
        verdicts: list[TokenVerdict] = []
        try:
            yield from reader.open()
            if reasoning:
                reader.push(reasoning, thinking=True)
            reader.push(text, thinking=False)
            reader.end()
            while reader.has_pending:
                verdicts += yield from reader.read()
        except BaseException:
            reader.close(keep=False)
            raise
        reader.close()
        return tuple(verdicts)

    def _context(self, owner: Owner, direction: Direction, **details: Any) -> Context:
        raise NotImplementedError

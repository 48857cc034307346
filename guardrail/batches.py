"""The part of the facade that judges many whole texts: data sets, not conversations that somebody waits for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from guardrail.conversation import Conversation
from guardrail.decision import Decision
from guardrail.driving import drive_many
from guardrail.engines.base import Engine
from guardrail.engines.runtime import Runtime
from guardrail.prefixes import Owner
from guardrail.repair import Attempt
from guardrail.stream import Stream
from guardrail.tape import Steps

AT_ONCE = 8
"""Texts under way at once: measured in docs/scan.md; more gain nothing, and each holds a KV cache."""

CALL_TOKENS = Runtime().step_tokens


@dataclass(frozen=True, slots=True)
class Check:
    """A text to judge.

    Attributes:
        conversation: one user message as text, or messages.
        answer: the answer to them that is judged; None judges the last user turn or tool result.
        conversation_id: as in `Guard.check_prompt`.
        tenant: as in `Guard.check_prompt`.
    """

    conversation: Conversation
    answer: str | None = None
    conversation_id: str | None = None
    tenant: str | None = None


class Batches:
    """How a `Guard` judges many texts."""

    engine: Engine

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
        return self._new_stream(check.conversation, owner, None, None).checking(check.answer)

    def _checking_prompt(self, conversation: Conversation, owner: Owner) -> Steps[Decision]:
        raise NotImplementedError

    def _new_stream(
        self, conversation: Conversation, owner: Owner, max_tokens: int | None, attempt: Attempt | None
    ) -> Stream:
        raise NotImplementedError

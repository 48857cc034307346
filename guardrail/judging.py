"""The part of the facade that gives bare verdicts: no policy, no record, nothing kept of what was read."""

from guardrail.checking import judging_prompt
from guardrail.conversation import Conversation, to_messages
from guardrail.driving import adrive, drive
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine
from guardrail.policy import TooLong
from guardrail.reading import AnswerReader
from guardrail.tape import Steps, Tapes
from guardrail.verdict import TokenVerdict, Verdict


class Judging:
    """What a `Guard` says without deciding."""

    engine: Engine
    _tokenizer: GuardTokenizer

    def judge_prompt(self, conversation: Conversation) -> Verdict:
        """Return the bare verdict on the last user turn or tool result; no policy, no record.

        Raises:
            ConversationError: the messages cannot be read or hold no user or tool turn.
            EngineError: the model failed.
        """
        return drive(self.engine, self._judging_prompt(conversation))

    async def ajudge_prompt(self, conversation: Conversation) -> Verdict:
        """As `judge_prompt`, without blocking the event loop."""
        return await adrive(self.engine, self._judging_prompt(conversation))

    def judge_response(self, conversation: Conversation, text: str) -> tuple[TokenVerdict, ...]:
        """Return the verdict at every token of an answer, with its span; no policy, no record.

        Raises:
            ConversationError: the messages cannot be read.
            EngineError: the model failed.
        """
        return drive(self.engine, self._judging_response(conversation, text))

    async def ajudge_response(self, conversation: Conversation, text: str) -> tuple[TokenVerdict, ...]:
        """As `judge_response`, without blocking the event loop."""
        return await adrive(self.engine, self._judging_response(conversation, text))

    def _judging_prompt(self, conversation: Conversation) -> Steps[Verdict]:
        return judging_prompt(Tapes(self.engine), self._tokenizer, to_messages(conversation))

    def _judging_response(self, conversation: Conversation, text: str) -> Steps[tuple[TokenVerdict, ...]]:
        reader = AnswerReader(Tapes(self.engine), self._tokenizer, to_messages(conversation), TooLong.SLIDE)
        verdicts: list[TokenVerdict] = []
        try:
            yield from reader.open()
            reader.push(text, thinking=False)
            reader.end()
            while reader.has_pending:
                verdicts += yield from reader.read()
        finally:
            reader.close()
        return tuple(verdicts)

"""The reader of Qwen3Guard-Stream models: one verdict on a prompt, at its closing token, and one at every token of an
answer.
"""

from collections.abc import Sequence

from guardrail.conversation import CALL_CLOSING, Message, call_opening
from guardrail.encoding import GuardTokenizer
from guardrail.policy import Policy
from guardrail.reader import AnswerReader, PromptReading
from guardrail.reading import TokenAnswer
from guardrail.reuse import Tapes
from guardrail.scores import verdicts_of
from guardrail.tape import Steps
from guardrail.windowing import fit_prompt


class TokenReader:
    """Reads with an engine of token ids; see `Reader`.

    Attributes:
        tokenizer: of the engine's model.
    """

    def __init__(self, tokenizer: GuardTokenizer) -> None:
        """Take the tokenizer of the engine's model."""
        self.tokenizer = tokenizer

    def prompt(self, tapes: Tapes, _policy: Policy, messages: Sequence[Message], reading: PromptReading) -> Steps[None]:
        """Judge the last turn: the query heads at its closing `<|im_end|>`, nowhere else."""
        info = tapes.engine.info
        fitted = fit_prompt(self.tokenizer, messages, info.max_context)
        reading.n_dropped_turns = max(reading.n_dropped_turns, fitted.n_dropped_turns)
        for ids in fitted.windows:
            tape = yield from tapes.open(ids)
            try:
                logits = yield from tape.feed(ids[tape.length :])
            except BaseException:
                tape.close()
                raise
            tapes.put_back(tape)
            reading.n_tokens += len(ids)
            reading.verdicts += verdicts_of(info.prompt_labels, logits.query_risk[-1:], logits.query_category[-1:])

    def answer(
        self, tapes: Tapes, policy: Policy, messages: Sequence[Message], *, is_call: bool = False
    ) -> AnswerReader:
        """Return what reads one answer token by token."""
        if not is_call:
            return TokenAnswer(tapes, self.tokenizer, messages, policy.too_long)
        before, opening = call_opening(messages)
        return TokenAnswer(tapes, self.tokenizer, before, policy.too_long, opening=opening, closing=CALL_CLOSING)

    def close(self) -> None:
        """Nothing is held besides the engine."""

"""An engine of your own: whatever turns token ids into logits. This one is a word list; the guard does the rest."""

from collections.abc import Sequence

import numpy as np

from guardrail import Category, Guard, RiskLevel
from guardrail.engines.base import Feed, FloatArray, Logits, ModelInfo, check_feeds
from guardrail.engines.scheduled import ScheduledEngine
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, LabelSet
from guardrail.testing import FakeSession, default_tokenizer

WORDS = {"referee": Category.UNETHICAL, "casino": Category.ILLEGAL_ACTS}
TAIL = 6  # tokens in which a word is looked for; the longest one has four


class WordEngine:
    """Calls a position Unsafe while one of the words stands in the last few tokens; a real one runs a model here."""

    def __init__(self) -> None:
        self._tokenizer = default_tokenizer()
        self.info = ModelInfo("words", "0" * 64, "word list", "exact", 8192, PROMPT_LABELS, RESPONSE_LABELS)

    def open(self) -> FakeSession:
        """Start to read a text. A session has `length`, `rollback`, `fork`, `close`; this one remembers its ids."""
        return FakeSession()

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append the new ids of each session; return the logits of the four heads at each of them."""
        check_feeds(feeds, self.info.max_context, self._tokenizer.vocab_size)
        return [self._read(feed.session, feed.ids) for feed in feeds]

    def close(self) -> None:
        """Free the model: nothing to do."""

    def _read(self, session: FakeSession, new_ids: Sequence[int]) -> Logits:
        found = []
        for token_id in new_ids:
            session.ids.append(token_id)
            tail = self._tokenizer.decode(session.ids[-TAIL:]).lower()
            found.append(next((category for word, category in WORDS.items() if word in tail), None))
        return Logits(*heads(found, PROMPT_LABELS), *heads(found, RESPONSE_LABELS))


def heads(found: list[Category | None], labels: LabelSet) -> tuple[FloatArray, FloatArray]:
    """Return logits float32 [position, risk] and [position, category], in the order of the labels."""
    levels = [RiskLevel.UNSAFE if category else RiskLevel.SAFE for category in found]
    risk = [[5.0 * (level == one) for level in labels.risks] for one in levels]
    category = [[5.0 * (name == one) for name in labels.categories] for one in found]
    return np.array(risk, np.float32), np.array(category, np.float32)


if __name__ == "__main__":
    with Guard(ScheduledEngine(WordEngine()), default_tokenizer()) as guard:  # the queue, the batches, the isolation
        for text in ("I won at chess last night.", "I won at the casino last night."):
            answer = guard.check_response("How are you?", text)
            print(f"{answer.action}: {text[: answer.released_chars]} [{answer.category}, {answer.identity.engine}]")

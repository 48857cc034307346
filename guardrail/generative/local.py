"""A Gen checkpoint as an engine of token ids: instead of writing its verdict, the model is shown its beginning.

Fed with the prompt and "Safety:", it has its label in the logits of one position, the last one; a few tokens more, and
the same holds for the category and the refusal. That is what greedy decoding would have written, at the price of one
reading, and everything that engines are good at holds for it: batches, kept keys and values, what prompts share.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Logits
from guardrail.generative.labels import CATEGORIES, REFUSAL, SAFETY
from guardrail.generative.line import Found
from guardrail.generative.parsing import NO_CATEGORY
from guardrail.generative.template import Turn, closing, is_response, opening
from guardrail.reuse import Tapes
from guardrail.scores import softmax
from guardrail.tape import Steps, Tape, common_prefix
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, RiskLevel
from guardrail.verdict import Verdict, rounded

NAME_FROM = 0.01
"""Probability of harm from which its category is asked for; below it, all categories are alike. Ours: a policy whose
thresholds lie lower would stop everything, and a prompt that is clearly safe takes one call of the model."""


class LocalLine:
    """Asks an engine, and keeps the keys and values of what questions share. See `Line`."""

    def __init__(self, tapes: Tapes, tokenizer: GuardTokenizer) -> None:
        """Start without a tape.

        Args:
            tapes: give the engine's sessions.
            tokenizer: of its model.
        """
        self._tapes, self._tokenizer = tapes, tokenizer
        self._tape: Tape | None = None

    @cached_property
    def limit(self) -> int:
        """Most tokens of a prompt: the context, less the longest answer."""
        answers = [self._written(RiskLevel.CONTROVERSIAL, name, REFUSAL) for name in PROMPT_LABELS.categories]
        return self._tapes.engine.info.max_context - max(map(len, answers))

    def size(self, turns: Sequence[Turn]) -> int:
        """Return the tokens of a prompt."""
        return len(self._prompt(turns))

    def prepare(self, turns: Sequence[Turn]) -> Steps[None]:
        """Read what stands before the last turn's text, if it fits."""
        ids = self._tokenizer.encode_segments(opening(turns))
        if len(ids) <= self.limit:
            yield from self._read(ids)

    def ask(self, turns: Sequence[Turn]) -> Steps[Found]:
        """Return the verdict on the last turn; see `Line.ask`."""
        prompt, judges_response = self._prompt(turns), is_response(turns)
        labels = RESPONSE_LABELS if judges_response else PROMPT_LABELS
        risk = softmax((yield from self._read(prompt + self._written())).response_risk[-1])
        level = labels.risks[int(risk.argmax())]
        shares, refusal = np.full(len(labels.categories), 1 / len(labels.categories)), None
        if judges_response and level is RiskLevel.SAFE:
            refusal = yield from self._refuses(prompt, level.value, NO_CATEGORY)
        if 1 - risk[labels.risks.index(RiskLevel.SAFE)] >= NAME_FROM:
            harm = max((one for one in RiskLevel if one.rank), key=lambda one: float(risk[labels.risks.index(one)]))
            logits = yield from self._read(prompt + self._written(harm.value, CATEGORIES))
            rows = logits.response_category if judges_response else logits.query_category
            shares = softmax(rows[-1, : len(labels.categories)])
        if judges_response and level is not RiskLevel.SAFE:
            refusal = yield from self._refuses(prompt, level.value, labels.categories[int(shares.argmax())])
        return Found(Verdict(labels, rounded(risk.tolist()), rounded(shares.tolist()), refusal), len(prompt))

    def close(self, *, keep: bool = True) -> None:
        """Give the session up: to what begins alike, or for good."""
        tape, self._tape = self._tape, None
        if tape:
            self._tapes.put_back(tape, keep=keep)

    def _refuses(self, prompt: list[int], level: str, category: str) -> Steps[bool]:
        logits = yield from self._read(prompt + self._written(level, category, REFUSAL))
        yes, no = logits.response_category[-1, len(RESPONSE_LABELS.categories) :]
        return bool(yes >= no)

    def _prompt(self, turns: Sequence[Turn]) -> list[int]:
        return self._tokenizer.encode_segments([*opening(turns), *closing(turns)])

    def _written(self, *words: str) -> list[int]:
        """Return the beginning of an answer up to where the next word comes: "Safety:", or with a level, a category.

        Args:
            words: nothing; or a level and "Categories:"; or a level, a category and "Refusal:".
        """
        text = SAFETY
        if words:
            text += f" {words[0]}\n{CATEGORIES}"
        if len(words) > 2:
            text += f" {words[1]}\n{REFUSAL}"
        return list(self._tokenizer.encode_plain(text).ids)

    def _read(self, ids: list[int]) -> Steps[Logits]:
        """Read what is not held yet, at least the last token; return the logits of that."""
        if self._tape is None:
            self._tape = yield from self._tapes.open(ids)
        n_held = min(common_prefix(self._tape.ids, ids), len(ids) - 1)
        self._tape.rollback(n_held)
        return (yield from self._tape.feed(ids[n_held:]))

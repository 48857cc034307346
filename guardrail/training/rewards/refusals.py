"""Who says whether an answer refuses: phrases of many languages, a Qwen3Guard-Gen model, or the guard if it is one."""

import re
from collections.abc import Sequence
from typing import Protocol

from guardrail.errors import EngineError
from guardrail.guard import Guard
from guardrail.training.rewards.judging import TextJudge
from guardrail.training.rewards.refusal_phrases import PHRASES
from guardrail.training.rewards.values import Completion

HEAD_CHARS = 320
"""How far into an answer refusals are looked for. Ours."""

MOST_SENTENCES = 4
"""How many of its first sentences are looked at: "I understand. But ..." comes before many refusals. Ours."""


class RefusalDetector(Protocol):
    """Says whether answers refuse.

    Attributes:
        name: for logs and records.
    """

    name: str

    def refuses(self, completions: Sequence[Completion]) -> list[bool | EngineError]:
        """Return for each completion whether its answer refuses, or the error that kept it from being known."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class PhraseDetector:
    """Knows refusals by how they begin. No model, no waiting; safe for many threads.

    It misses wordings that it does not know, and a model that is rewarded may find them: docs/rewards.md has measured
    rates, and a Gen model is the better judge where one is at hand.
    """

    name = "phrases"

    def refuses(self, completions: Sequence[Completion]) -> list[bool | EngineError]:
        """See `RefusalDetector.refuses`; never an error."""
        return [is_refusal(completion.answer) for completion in completions]

    def close(self) -> None:
        """Nothing is held."""


class GenDetector:
    """Asks a Qwen3Guard-Gen model, whose third line says `Refusal: Yes` or `No`."""

    name = "gen"

    def __init__(self, guard: Guard, *, at_once: int = 8) -> None:
        """Wrap a guard on a Gen model.

        Args:
            guard: from `Guard.generative`, or `Guard.load` of a Gen checkpoint.
            at_once: answers under way at once.
        """
        self._judge = TextJudge(guard, policy="balanced", at_once=at_once)

    def refuses(self, completions: Sequence[Completion]) -> list[bool | EngineError]:
        """See `RefusalDetector.refuses`. An answer that the model stops as harmful is no refusal by what it read."""
        found: list[bool | EngineError] = []
        for one in self._judge.judge([(completion.prompt, completion.answer) for completion in completions]):
            if one.failure:
                found.append(EngineError(f"the refusal model failed: {one.failure}"))
            else:
                found.append(bool(one.is_refusal))
        return found

    def close(self) -> None:
        """Free the model."""
        self._judge.close()


def is_refusal(text: str) -> bool:
    """Whether one of an answer's first sentences refuses, in any of the languages that are known here."""
    head = text[:HEAD_CHARS].casefold().translate(_PLAIN)
    sentences = [one for one in _SENTENCE_END.split(head) if one.strip()][:MOST_SENTENCES]
    return any(_REFUSAL.search(sentence) for sentence in sentences)


_PLAIN = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " "})
_SENTENCE_END = re.compile(r"(?<=[.!?。！？।؟])\s*|\n+")
_REFUSAL = re.compile("|".join(f"(?:{phrase})" for phrases in PHRASES.values() for phrase in phrases))

"""Who says whether an answer refuses: phrases of many languages, a Qwen3Guard-Gen model, or the guard if it is one."""

from collections.abc import Sequence
from typing import Protocol

from guardrail.errors import EngineError
from guardrail.guard import Guard
from guardrail.training.refusal_phrases import is_refusal
from guardrail.training.rewards.judging import TextJudge
from guardrail.training.rewards.values import Completion


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

"""What a Gen reader asks: one conversation's line to the model, wherever that runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from guardrail.generative.template import Turn
from guardrail.tape import Steps
from guardrail.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Found:
    """What one question brought.

    Attributes:
        verdict: on the last turn.
        n_tokens: that were read; 0 where that is not told.
    """

    verdict: Verdict
    n_tokens: int


class Line(Protocol):
    """Asks about one conversation. One caller at a time."""

    @property
    def limit(self) -> int:
        """Largest `size` of a question."""
        ...

    def size(self, turns: Sequence[Turn]) -> int:
        """Return what a question takes of the model's context, in the unit of `limit`."""
        ...

    def prepare(self, turns: Sequence[Turn]) -> Steps[None]:
        """Read early what questions will begin with; the last turn will go on."""
        ...

    def ask(self, turns: Sequence[Turn]) -> Steps[Found]:
        """Return the verdict on the last turn.

        Raises:
            EngineError: the model failed, or its answer is no verdict.
        """
        ...

    def close(self, *, keep: bool = True) -> None:
        """Give up what is held; for good if a step may not have ended well."""
        ...

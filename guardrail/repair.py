"""Repair instead of cut: roll back to what was released, let the LLM think again, go on; a bounded number of times.

The idea is the reference's intervention study (`qwen3guard.md` 3.11). Pure functions: adapters ask the LLM.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.decision import Decision, Direction, Reason
from guardrail.policy import OnStop, Policy


@dataclass(frozen=True, slots=True)
class Attempt:
    """What earlier attempts at an answer came to. A stream that is opened with it replays the released text in silence.

    Attributes:
        parts: released text so far, oldest first, each with whether it is reasoning.
        n_repairs: attempts that were stopped.
        n_tokens: tokens of those attempts that were judged and never passed on.
        category: of the latest stop, for the instruction.
    """

    parts: tuple[tuple[str, bool], ...]
    n_repairs: int
    n_tokens: int
    category: str | None = None

    @property
    def answer(self) -> str:
        """Released text without the reasoning: the assistant's turn so far."""
        return "".join(text for text, thinking in self.parts if not thinking)

    @property
    def n_chars(self) -> int:
        """Characters released so far."""
        return sum(len(text) for text, _ in self.parts)


def next_attempt(
    policy: Policy, decision: Decision, before: Attempt | None, parts: Sequence[tuple[str, bool]]
) -> Attempt | None:
    """Return what the next attempt starts from; None when the answer must not, or can no more, be repaired.

    Only a verdict on an answer is repaired: a failure would fail again. So would an answer whose risky text has left.

    Args:
        policy: says whether and how often.
        decision: on the attempt that ended.
        before: what that attempt had started from.
        parts: all released text of the answer, earlier attempts' too, each with whether it is reasoning.
    """
    n_repairs, n_tokens = (before.n_repairs, before.n_tokens) if before else (0, 0)
    is_answer = decision.stopped and decision.reason is Reason.VERDICT and decision.direction is Direction.RESPONSE
    is_repairable = is_answer and not decision.leaked_chars
    if policy.on_stop is not OnStop.REPAIR or not is_repairable or n_repairs >= policy.max_repairs:
        return None
    n_withheld = sum(token.end > decision.released_chars for token in decision.tokens)
    return Attempt(tuple(parts), n_repairs + 1, n_tokens + n_withheld, decision.category)

"""One request to an LLM: who guards it, what was asked, and what is said at a stop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from guardrail.conversation import Message
from guardrail.decision import Decision
from guardrail.guard import Guard
from guardrail.policy import OnStop
from guardrail.repair import Attempt
from guardrail.wire.errors import AnswerStopped


def _say_nothing(_held_s: float) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to an LLM.

    Attributes:
        guard: judges.
        messages: what the LLM is asked.
        id: of the conversation, for the records.
        tenant: whose request it is; nothing that was read is shared between two.
        max_tokens: most tokens that the LLM may write; None when it is not known.
        n_choices: answers that were asked for.
        on_release: told how many seconds a piece of text has waited for its last character's release.
    """

    guard: Guard
    messages: tuple[Message, ...]
    id: str | None
    tenant: str | None = None
    max_tokens: int | None = None
    n_choices: int = 1
    on_release: Callable[[float], None] = _say_nothing

    @property
    def raises(self) -> bool:
        """Whether a stop ends in an exception."""
        return self.guard.policy.on_stop is OnStop.RAISE

    def closing_text(self, decision: Decision) -> str:
        """Return the text that follows a stop: the policy's message, or ""."""
        policy = self.guard.policy
        is_silent = policy.on_stop in (OnStop.TRUNCATE, OnStop.RAISE)
        return "" if is_silent else policy.stop_message(decision.category)

    def asking_again(self, attempt: Attempt, category: str | None) -> list[dict[str, Any]]:
        """Return what is said to the LLM, behind the request, before it goes on with a stopped answer."""
        said = [{"role": "assistant", "content": attempt.answer}] if attempt.answer else []
        return [*said, {"role": "user", "content": self.guard.policy.repair_message(category)}]

    def exception(self, decision: Decision) -> AnswerStopped:
        """Return what a policy that raises raises."""
        return AnswerStopped(decision, self.guard.policy.stop_message(decision.category))


def refuses(decision: Decision) -> bool:
    """Whether a decision keeps back what it is about; a gateway has no person to ask."""
    return decision.stopped or decision.asks

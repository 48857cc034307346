"""What the gates of event streams share: one answer, which is not repaired, since its items cannot be opened again."""

from typing import Any

from guardrail.adapters.litellm.answer import Answer
from guardrail.adapters.litellm.exchange import Exchange


class EventGate:
    """The events of one answer. One caller at a time."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._answer: Answer[Any] = Answer(exchange)
        self.answers = {0: self._answer}
        self._is_closed = False

    @property
    def is_done(self) -> bool:
        """Whether the LLM need not go on."""
        return self._answer.is_stopped

    is_cut = is_done

    @property
    def is_repairable(self) -> bool:
        """No: only chat completions are."""
        return False

    def repairing(self) -> list[dict[str, Any]]:
        """Never called."""
        return []

    def counting(self, usage: Any) -> None:
        """Say nothing: the last event of an answer that was cut holds its usage."""

    def close(self) -> None:
        """Free what is still open."""
        self._answer.close()

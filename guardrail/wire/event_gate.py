"""What the gates of event streams share: one answer, which is not repaired, since its items cannot be opened again."""

from abc import ABC, abstractmethod
from typing import Any

from guardrail.waiting import Steps
from guardrail.wire.answer import Answer
from guardrail.wire.exchange import Exchange


class EventGate(ABC):
    """The events of one answer. One caller at a time."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._answer: Answer[Any] = Answer(exchange)
        self.answers = {0: self._answer}
        self._is_closed = False

    def catching_up(self) -> Steps[list[Any]]:
        """Read all that was taken; return the events that may leave."""
        made = yield from self._answer.catching_up()
        return self._sent(made) + self._closing()

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

    def counting(self, usage: Any) -> None:  # noqa: B027  # not for subclasses to fill in
        """Say nothing: the last event of an answer that was cut holds its usage."""

    def close(self) -> None:
        """Free what is still open."""
        self._answer.close()

    @abstractmethod
    def _sent(self, events: list[Any]) -> list[Any]:
        """Remember what the reader has seen; return the events as they leave."""

    @abstractmethod
    def _closing(self) -> list[Any]:
        """Return the events that end a stopped answer, once."""

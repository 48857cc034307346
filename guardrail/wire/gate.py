"""What the gates of all formats have in common, and which of them reads a stream."""

from collections.abc import Mapping
from typing import Any, Protocol

from guardrail.waiting import Steps
from guardrail.wire.answer import Answer
from guardrail.wire.chat import ChatGate
from guardrail.wire.errors import NotUnderstood
from guardrail.wire.exchange import Exchange
from guardrail.wire.responses import ResponsesGate


class Gate(Protocol):
    """The pieces of one answer in one format."""

    answers: dict[int, Answer[Any]]

    @property
    def is_done(self) -> bool:
        """Whether the LLM need not go on."""
        ...

    @property
    def is_cut(self) -> bool:
        """Whether an answer was stopped, and what the LLM wrote is not what was released."""
        ...

    def taking(self, piece: Any, /) -> Steps[list[Any]]:
        """Take a piece; return those that may leave."""
        ...

    def catching_up(self) -> Steps[list[Any]]:
        """Read all that was taken; return the pieces that may leave."""
        ...

    def finishing(self) -> Steps[list[Any]]:
        """Come to an end; return the rest."""
        ...

    @property
    def is_repairable(self) -> bool:
        """Whether a stopped answer waits for the LLM to go on with it."""
        ...

    def repairing(self) -> list[dict[str, Any]]:
        """Start another attempt; return what is said to the LLM before it."""
        ...

    def counting(self, usage: Any) -> Any:
        """Return a piece with the usage, if one is missing."""
        ...

    def close(self) -> None:
        """Free what is still open."""
        ...


def gate_for(piece: Mapping[str, Any], exchange: Exchange, *, allows_repair: bool) -> Gate:
    """Return the gate for a stream that begins with this piece.

    Raises:
        NotUnderstood: it is of no format that the guard reads.
    """
    if "choices" in piece:
        is_chat = piece.get("object") != "text_completion"
        return ChatGate(exchange, allows_repair=allows_repair and is_chat and exchange.n_choices == 1)
    if str(piece.get("type")).startswith("response."):
        return ResponsesGate(exchange)
    raise NotUnderstood("the stream's pieces are in no format that it can read")

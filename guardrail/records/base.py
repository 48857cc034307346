"""What a sink is."""

from typing import Protocol, runtime_checkable

from guardrail.decision import Decision


@runtime_checkable
class Sink(Protocol):
    """Stores decisions. Called from any thread; what it raises is logged and counted, and never changes a decision."""

    def write(self, decision: Decision, text: str) -> None:
        """Store one decision.

        Args:
            decision: final; never changed afterwards.
            text: the judged text, which a sink keeps only if its user asked for that.
        """
        ...

    def close(self) -> None:
        """Flush and free; closing twice is harmless."""
        ...

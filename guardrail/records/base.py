"""What a sink is, and what stands behind a sink that stores durably."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from guardrail.decision import Decision
from guardrail.errors import ConfigurationError

if TYPE_CHECKING:
    from guardrail.records.record import Record
    from guardrail.tape import Receipt


@runtime_checkable
class Sink(Protocol):
    """Takes decisions. Called from any thread; what it raises is logged and counted, and never changes a decision."""

    def write(self, decision: Decision, text: str) -> "Receipt | None":
        """Take one decision, without blocking: it may be called on an event loop.

        Args:
            decision: final; never changed afterwards.
            text: the judged text, which a sink keeps only if its user asked for that.

        Returns:
            What must end before the decision is handed on, such as a stop's way to the disk; None where nothing must.
        """
        ...

    def close(self) -> None:
        """Store what waits, and free; closing twice is harmless."""
        ...


def checked_sinks(sinks: Sequence[Sink]) -> tuple[Sink, ...]:
    """Return the sinks as they are.

    Raises:
        ConfigurationError: one cannot write, such as a file's name, whose letters would be sinks.
    """
    if not all(callable(getattr(sink, "write", None)) for sink in sinks):
        raise ConfigurationError(
            "sinks are objects that write", hint='such as [guardrail.records.open_sink("records.jsonl")]'
        )
    return tuple(sinks)


class Store(Protocol):
    """Where records end up. Called by one thread at a time, which may be another one each time."""

    def append(self, records: Sequence["Record"], *, sync: bool) -> None:
        """Store records, all or none; one that is stored already (same id) counts as stored.

        Args:
            records: in the order of their decisions.
            sync: also wait until they would survive a crash of the machine; without it they survive that of the process
                alone.

        Raises:
            RecordError: none is stored. `retryable` tells whether the same call may succeed later (a full disk, a
                database that is away), or these records will never be taken. Its message is logged: no user text.
                Anything else that is raised counts as a refusal, but OSError and MemoryError may be tried again.
        """
        ...

    def close(self) -> None:
        """Free; closing twice is harmless."""
        ...

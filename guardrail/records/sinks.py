"""Sinks: in memory, and before a store, such as a file of JSON lines."""

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Self, cast

from guardrail.decision import Decision
from guardrail.records.base import Store
from guardrail.records.jsonl import JsonlStore
from guardrail.records.privacy import Privacy
from guardrail.records.queueing import Durability, Queueing
from guardrail.records.record import Record
from guardrail.records.writer import Writer
from guardrail.tape import Receipt


class MemorySink:
    """Keeps the latest decisions in memory. Safe for many threads.

    Attributes:
        decisions: oldest first.
    """

    def __init__(self, max_decisions: int = 10_000) -> None:
        self.decisions: deque[Decision] = deque(maxlen=max_decisions)

    def write(self, decision: Decision, text: str) -> None:  # noqa: ARG002  # the protocol's
        """Keep the decision; the text is dropped."""
        self.decisions.append(decision)

    def close(self) -> None:
        """Do nothing: what was kept stays readable."""


class StoredSink:
    """Records decisions into a store, by a thread of its own: see `Queueing` for what waits, and what may be lost. Safe
    for many threads. A context manager that closes it.

    The record is made in the call; the judged text goes no further than `privacy` lets it.
    """

    def __init__(
        self, store: Store, *, privacy: Privacy | None = None, queueing: Queueing | None = None, name: str = "record"
    ) -> None:
        """Stand before a store.

        Args:
            store: takes the records.
            privacy: what they hold besides the decision; None keeps every position's probabilities and no text.
            queueing: how records wait; None takes the defaults.
            name: of the sink, for log lines.
        """
        self._privacy = privacy or Privacy()
        self._writer = Writer(store, queueing or Queueing(), name)

    def write(self, decision: Decision, text: str) -> Receipt | None:
        """Queue a decision's record; return what a stop has to wait for.

        Raises:
            RecordError: the sink is closed.
        """
        return self._writer.put(Record.of(decision, text, self._privacy), is_stop=decision.stopped)

    @property
    def n_waiting(self) -> int:
        """Records that are not stored yet."""
        return self._writer.n_waiting

    @property
    def n_stored(self) -> int:
        """Records that were stored."""
        return self._writer.n_stored

    @property
    def n_lost(self) -> int:
        """Records that are stored nowhere: dropped for want of room, refused by the store, or left at closing."""
        return self._writer.n_lost

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until every record is stored; return whether that was so in time."""
        return self._writer.flush(timeout_s)

    def close(self) -> None:
        """Store what waits, and free; closing twice is harmless."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class JsonlSink(StoredSink):
    """Appends one JSON line a decision; safe for many threads and processes. See `JsonlStore`."""

    def __init__(
        self,
        path: str | Path,
        *,
        durability: Durability | str | None = None,
        max_bytes: int | None = None,
        max_files: int | None = None,
        privacy: Privacy | None = None,
        queueing: Queueing | None = None,
    ) -> None:
        """Open the file for appending, making its folder if needed.

        Args:
            path: the file.
            durability: "sync" or "batch", as in `Queueing`; None takes that of `queueing`.
            max_bytes: size from which a new file is begun; None never does.
            max_files: rotated files that are kept; None keeps all.
            privacy: what records hold besides the decision; None keeps every position's probabilities and no text.
            queueing: how records wait; None takes the defaults.

        Raises:
            RecordError: the file cannot be opened, or a value is unknown.
        """
        queueing = queueing or Queueing()
        if durability is not None:
            queueing = replace(queueing, durability=cast("Durability", durability))
        super().__init__(JsonlStore(path, max_bytes=max_bytes, max_files=max_files), privacy=privacy, queueing=queueing)

"""How records wait for their store: when a decision may be handed on, and what gives way when too many wait."""

import threading
from dataclasses import dataclass
from enum import StrEnum

from guardrail.errors import RecordError


class Durability(StrEnum):
    """When a decision may be handed on: `sync`, a stop once it would survive a crash of the machine, everything else at
    once; `batch`, all at once: a crash of the machine loses what the system had not written, a killed process what
    waited in the queue.
    """

    SYNC = "sync"
    BATCH = "batch"


class WhenFull(StrEnum):
    """What gives way when the queue is full: `drop`, the newest record, which is counted, but for stops under `sync`;
    `block`, the caller, who waits for room, `timeout_s` at most. What is not dropped waits beyond the bounds: up to
    twice as much, then it is dropped as well.
    """

    DROP = "drop"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Queueing:
    """How records wait for their store.

    Attributes:
        durability: when a decision may be handed on.
        when_full: what gives way when too many wait.
        max_waiting: records that may wait.
        max_bytes: what they may take, about.
        flush_s: seconds that a record waits for others, to be stored together; a killed process loses what waits. Stops
            under `sync` wait for none.
        timeout_s: most seconds that a caller waits, for a stop to be stored or for room.
        close_s: seconds that closing waits for the store to take what is left; 0 gives up what is left.
    """

    durability: Durability = Durability.SYNC
    when_full: WhenFull = WhenFull.DROP
    max_waiting: int = 10_000
    max_bytes: int = 64 << 20
    flush_s: float = 0.0
    timeout_s: float = 5.0
    close_s: float = 10.0

    def __post_init__(self) -> None:
        for name, kind in (("durability", Durability), ("when_full", WhenFull)):
            value = getattr(self, name)
            if value not in list(kind):
                raise RecordError(f"{name} {value!r} is unknown; valid: {', '.join(kind)}")
            object.__setattr__(self, name, kind(value))
        if self.max_waiting < 1 or self.max_bytes < 1:
            raise RecordError("max_waiting and max_bytes must be at least 1")
        if not all(0 <= seconds < threading.TIMEOUT_MAX for seconds in (self.flush_s, self.timeout_s, self.close_s)):
            raise RecordError("flush_s, timeout_s and close_s are seconds, not negative and finite")

"""Decisions and stores that tests of records are made of."""

import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from guardrail.actions import Action
from guardrail.decision import Decision, Direction, Identity, Reason
from guardrail.errors import RecordError
from guardrail.records import Record
from guardrail.records.writer import Writer
from guardrail.taxonomy import RESPONSE_LABELS, RiskLevel
from guardrail.verdict import TokenVerdict, Verdict

IDENTITY = Identity("made", "0" * 64, "none", "fp32", "balanced", "1" * 64)
SAFE = Verdict(RESPONSE_LABELS, (1.0, 0.0, 0.0), (1.0, *[0.0] * 7))
UNSAFE = Verdict(RESPONSE_LABELS, (0.0, 1.0, 0.0), (1.0, *[0.0] * 7))


def decision(*, is_stop: bool = False, **changes: Any) -> Decision:
    """Return a decision on a prompt of five characters, allowed or stopped."""
    action, verdict = (Action.STOP, UNSAFE) if is_stop else (Action.ALLOW, SAFE)
    values: dict[str, Any] = {
        "id": uuid.uuid4().hex, "stream_id": uuid.uuid4().hex, "conversation_id": None, "time": 1_800_000_000.0,
        "direction": Direction.PROMPT, "action": action, "would_action": action, "reason": Reason.VERDICT,
        "risk": verdict.risk, "category": verdict.category, "verdict": verdict, "stop_offset": 0 if is_stop else None,
        "released_chars": 0 if is_stop else 5, "withheld_chars": 5 if is_stop else 0, "leaked_chars": 0,
        "unjudged_chars": 0, "n_tokens": 7, "n_windows": 1, "n_dropped_turns": 0, "unreadable": (), "failure": None,
        "identity": IDENTITY, "latency_ms": 1.5, "readings": (verdict,),
    }  # fmt: skip
    return Decision(**{**values, **changes})


def answer(tokens: Sequence[TokenVerdict], **changes: Any) -> Decision:
    """Return the decision on an answer of these tokens, which was let go."""
    risky = next((token.verdict for token in tokens if token.risk is not RiskLevel.SAFE), None)
    verdict = risky or (tokens[0].verdict if tokens else None)
    common = {"direction": Direction.RESPONSE, "tokens": tuple(tokens), "readings": (), "verdict": verdict}
    return decision(**{**common, "risk": verdict.risk if verdict else None, **changes})


def record(number: int = 0, **changes: Any) -> Record:
    """Return a small record with this number as its conversation."""
    return Record.of(decision(conversation_id=str(number), **changes))


def lines(path: Path) -> list[Record]:
    """Return the records of a file in which every line is one."""
    return [Record.model_validate_json(line) for line in path.read_text("utf-8").splitlines()]


class ScriptedStore:
    """Does what its script says, call by call, and takes what it is given from then on.

    Attributes:
        taken: numbers of the records that it has stored, in order.
        calls: numbers of each call, and whether it was to wait for the disk.
    """

    def __init__(self, script: Iterable[Exception | None] = (), bad: Iterable[int] = ()) -> None:
        """Follow a script.

        Args:
            script: what a call raises; None takes the records.
            bad: numbers of records that it will never take.
        """
        self._script, self._bad = iter(script), frozenset(bad)
        self.taken: list[int] = []
        self.calls: list[tuple[list[int], bool]] = []
        self.n_closed = 0

    def append(self, records: Sequence[Record], *, sync: bool) -> None:
        numbers = [int(one.conversation_id or 0) for one in records]
        self.calls.append((numbers, sync))
        if error := next(self._script, None):
            raise error
        if not self._bad.isdisjoint(numbers):
            raise RecordError("one of these is bad")
        self.taken += numbers

    def close(self) -> None:
        self.n_closed += 1


class HeldStore(ScriptedStore):
    """A store whose calls hang until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.released = threading.Event(), threading.Event()

    def append(self, records: Sequence[Record], *, sync: bool) -> None:
        self.entered.set()
        if not self.released.wait(60):
            raise AssertionError("nobody let the store go")
        super().append(records, sync=sync)


def away() -> RecordError:
    """Return what a store raises that is away."""
    return RecordError("the store is away", retryable=True)


def ended(call: Callable[[], Any], seconds: float = 10.0) -> bool:
    """Run a call in a thread of its own; return whether it ended in that time."""

    def run() -> None:
        with suppress(RecordError):
            call()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def put_all(queue: Writer, numbers: range, stops: frozenset[int] = frozenset()) -> None:
    """Hand over small records with these numbers."""
    for number in numbers:
        queue.put(record(number), is_stop=number in stops)

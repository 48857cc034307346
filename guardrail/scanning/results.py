"""What is written of a row: who it is, what was decided, by whom. Nothing that differs from run to run."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from guardrail.actions import Action
from guardrail.decision import Decision, Identity, Reason
from guardrail.records import Record
from guardrail.scanning.sources import Row

OF_DECISIONS = (
    "direction", "action", "would_action", "reason", "risk", "category", "risk_probabilities",
    "category_probabilities", "stop_offset", "released_chars", "withheld_chars", "n_tokens", "n_windows",
    "n_dropped_turns", "unreadable", "failure",
)  # fmt: skip
"""Fields that a result takes over from a decision's record; ids, times and latencies would differ from run to run."""

_DIGITS = 6
"""Of probabilities, after the point: more would only fill the disk."""

UNREADABLE = "unreadable"
"""How rows are counted of which nothing was judged."""

FAILED = "failed"
"""How rows are counted at which the model failed."""


def judged(row: Row, row_id: Any, decision: Decision) -> dict[str, Any]:
    """Return the result of a row that was judged."""
    record = Record.of(decision).model_dump(mode="json", include=set(OF_DECISIONS))
    for name in ("risk_probabilities", "category_probabilities"):
        record[name] = record[name] and {label: round(p, _DIGITS) for label, p in record[name].items()}
    fields = {name: record[name] for name in OF_DECISIONS}
    return {"row": row.number, "id": plain_id(row_id), **fields, "error": None, **asdict(decision.identity)}


def unread(row: Row, row_id: Any, error: str, identity: Identity) -> dict[str, Any]:
    """Return the result of a row that could not be read: stopped, with no verdict."""
    nothing = dict.fromkeys(OF_DECISIONS)
    stopped = {"action": Action.STOP.value, "would_action": Action.STOP.value, "reason": Reason.UNREADABLE.value}
    return {
        "row": row.number, "id": plain_id(row_id), **nothing, **stopped, "unreadable": [], "error": error,
        **asdict(identity),
    }  # fmt: skip


def plain_id(value: Any) -> str | int | None:
    """Return an id as a number or text."""
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    return str(value)


def to_line(result: Mapping[str, Any]) -> bytes:
    """Return a result as a line of JSON; lone surrogates, which no UTF-8 can hold, are escaped."""
    try:
        return (json.dumps(result, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(result) + "\n").encode()


class Tally(BaseModel):
    """How many rows came to what.

    Attributes:
        rows: all.
        actions: allowed, flagged, stopped by a verdict or rule, failed, unreadable.
        categories: of the rows that were flagged or stopped by a verdict.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    rows: int = 0
    actions: dict[str, int] = {}
    categories: dict[str, int] = {}

    def add(self, result: Mapping[str, Any]) -> None:
        """Count a result."""
        self.rows += 1
        _count(self.actions, _outcome(result))
        if result["category"] and result["would_action"] != Action.ALLOW.value:
            _count(self.categories, result["category"])

    def merge(self, other: "Tally") -> None:
        """Count what another tally has counted."""
        self.rows += other.rows
        for mine, theirs in ((self.actions, other.actions), (self.categories, other.categories)):
            for name, n in theirs.items():
                _count(mine, name, n)

    @property
    def n_unreadable(self) -> int:
        """Rows of which nothing was judged."""
        return self.actions.get(UNREADABLE, 0)

    @property
    def n_failed(self) -> int:
        """Rows at which the model failed."""
        return self.actions.get(FAILED, 0)


def _outcome(result: Mapping[str, Any]) -> str:
    if result["error"]:
        return UNREADABLE
    return FAILED if result["reason"] == Reason.FAILURE.value else str(result["action"])


def _count(counts: dict[str, int], name: str, n: int = 1) -> None:
    counts[name] = counts.get(name, 0) + n

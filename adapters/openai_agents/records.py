"""Where decisions show: as plain values, and in the SDK's own traces."""

from typing import Any

from agents.tracing import custom_span, get_current_trace

from guardrail.decision import Decision
from guardrail.records import Record


def record_of(decision: Decision) -> dict[str, Any]:
    """Return a decision's record as JSON values."""
    return Record.of(decision).model_dump(mode="json")


def trace(decision: Decision) -> None:
    """Put a decision's record into the run's trace, if there is one."""
    if get_current_trace():
        with custom_span("guardrail", record_of(decision)):
            pass


def run_id() -> str | None:
    """Return the id of the run's trace, which its requests and tools share; None where nothing is traced."""
    current = get_current_trace()
    return current.trace_id if current and current.trace_id != "no-op" else None

"""Where decisions show: as plain values, and in the SDK's own traces."""

from agents.tracing import custom_span, get_current_trace

from guardrail.decision import Decision
from guardrail.records import record_values


def trace(decision: Decision) -> None:
    """Put a decision's record into the run's trace, if there is one."""
    if get_current_trace():
        with custom_span("guardrail", record_values(decision)):
            pass


def run_id() -> str | None:
    """Return the id that a run's requests and tools share: its group's, with which the SDK links the runs of one
    conversation, else its trace's; None where nothing is traced.
    """
    current = get_current_trace()
    if not current or current.trace_id == "no-op":
        return None
    return getattr(current, "group_id", None) or current.trace_id

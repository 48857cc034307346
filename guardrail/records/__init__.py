"""Records of decisions, and the sinks that store them."""

from guardrail.records.base import Sink
from guardrail.records.record import Record, record_schema, record_values
from guardrail.records.sinks import JsonlSink, MemorySink

__all__ = ["JsonlSink", "MemorySink", "Record", "Sink", "record_schema", "record_values"]

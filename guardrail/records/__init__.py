"""Records of decisions: what they hold, the sinks that store them, and reading them back."""

from guardrail.records.base import Sink, Store
from guardrail.records.jsonl import JsonlStore
from guardrail.records.log_sink import LogSink
from guardrail.records.opening import open_sink, without_password
from guardrail.records.positions import Positions
from guardrail.records.privacy import Privacy, TextForm
from guardrail.records.queueing import Durability, Queueing, WhenFull
from guardrail.records.reading import Skipped, Span, read_records
from guardrail.records.record import Record, record_schema, record_values
from guardrail.records.sinks import JsonlSink, MemorySink, StoredSink
from guardrail.records.versions import read_record

__all__ = [
    "Durability",
    "JsonlSink",
    "JsonlStore",
    "LogSink",
    "MemorySink",
    "Positions",
    "Privacy",
    "Queueing",
    "Record",
    "Sink",
    "Skipped",
    "Span",
    "Store",
    "StoredSink",
    "TextForm",
    "WhenFull",
    "open_sink",
    "read_record",
    "read_records",
    "record_schema",
    "record_values",
    "without_password",
]

"""What the logging and the OpenTelemetry sink add to a decision, on the thread that makes it.

    python benchmarks/sink_cost.py --repeats 2000

One decision about an answer, written to each sink in turns: the log to a handler that formats it and throws it away,
the spans and events to the SDK's batching processors with an exporter that throws them away. Beside them stands what
the embedded model takes to judge one prompt of a few words.
"""

import argparse
import logging
import platform
from collections.abc import Sequence
from importlib.metadata import version

from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from guardrail import Guard
from guardrail.bench.machine import cores, cpu_name
from guardrail.bench.timing import Spread, seconds_of
from guardrail.records import LogSink, Sink
from guardrail.records.otel import OtelSink


class _NoSpans(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002  # thrown away
        return SpanExportResult.SUCCESS


class _NoEvents(LogRecordExporter):
    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:  # noqa: ARG002  # thrown away
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002  # nothing waits
        return True


class _Thrown(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


def main() -> None:
    """Print a line for each sink, in microseconds and in shares of a check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    with Guard.default(kept_bytes=0) as guard:
        decision = guard.check_response("Who are you?", "I am a baker, and I bake bread.")
        checks = Spread.of([seconds_of(lambda: guard.check_prompt("How do I bake bread?")) for _ in range(100)])
    sinks = made_sinks()
    taken: dict[str, list[float]] = {name: [] for name in sinks}
    for _ in range(repeats):
        for name, sink in sinks.items():
            taken[name].append(seconds_of(lambda sink=sink: sink.write(decision, "")))
    versions = ", ".join(f"{name} {version(name)}" for name in ("guardrail-stream", "opentelemetry-sdk", "pydantic"))
    print(f"{cpu_name()}, {cores()} cores, Python {platform.python_version()}, {versions}")
    print(f"one check of a prompt: median {checks.median * 1e6:.0f} us")
    for name, seconds in taken.items():
        spread = Spread.of(seconds)
        share = spread.median / checks.median
        print(f"{name:24} median {spread.median * 1e6:4.0f} us, p99 {spread.p99 * 1e6:4.0f} us, {share:.1%} of a check")


def made_sinks() -> dict[str, Sink]:
    """Return each sink, with somewhere to write to."""
    heard, quiet = logging.getLogger("heard"), logging.getLogger("quiet")
    for logger, level in ((heard, logging.INFO), (quiet, logging.ERROR)):
        logger.setLevel(level)
        logger.propagate = False
        logger.addHandler(_Thrown())
    events = LoggerProvider()
    events.add_log_record_processor(BatchLogRecordProcessor(_NoEvents()))
    spans, unsampled = TracerProvider(), TracerProvider(sampler=ALWAYS_OFF)
    for provider in (spans, unsampled):
        provider.add_span_processor(BatchSpanProcessor(_NoSpans()))
    return {
        "LogSink": LogSink(heard),
        "LogSink, nobody listens": LogSink(quiet),
        "OtelSink": OtelSink(tracer_provider=spans, logger_provider=events),
        "OtelSink, not sampled": OtelSink(tracer_provider=unsampled, logger_provider=events),
    }


if __name__ == "__main__":
    main()

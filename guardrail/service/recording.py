"""The sinks that settings ask for."""

from guardrail.records import LogSink, Privacy, Queueing, Sink, open_sink
from guardrail.service.sections import RecordSettings


def sinks_of(settings: RecordSettings) -> list[Sink]:
    """Return the sinks, opened.

    Raises:
        RecordError: one cannot be opened.
        MissingExtra: what it needs is not installed.
    """
    sinks: list[Sink] = []
    if settings.path:
        key = settings.hash_key
        privacy = Privacy(settings.text, key.get_secret_value().encode() if key else None, positions=settings.positions)
        queueing = Queueing(
            settings.durability, settings.when_full, max_waiting=settings.max_waiting, flush_s=settings.flush_s
        )
        sinks.append(
            open_sink(
                settings.path, privacy=privacy, queueing=queueing, max_bytes=settings.max_bytes,
                max_files=settings.max_files,
            )
        )  # fmt: skip
    if settings.log:
        sinks.append(LogSink())
    if settings.opentelemetry:
        from guardrail.records.otel import OtelSink

        sinks.append(OtelSink())
    return sinks

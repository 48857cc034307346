"""The OpenTelemetry sink: a span and an event for each decision. All contact with opentelemetry is in this file."""

import logging
from importlib.metadata import version

from guardrail.decision import Decision
from guardrail.errors import MissingExtra
from guardrail.records import otel_names as names
from guardrail.records.privacy import Privacy
from guardrail.records.record import SHOWN, Record
from guardrail.records.signals import level_of

try:
    from opentelemetry import _logs as logs
    from opentelemetry import trace
except ModuleNotFoundError as error:
    raise MissingExtra("opentelemetry-api", "otel") from error

_SEVERITIES = {
    logging.INFO: logs.SeverityNumber.INFO,
    logging.WARNING: logs.SeverityNumber.WARN,
    logging.ERROR: logs.SeverityNumber.ERROR,
}


class OtelSink:
    """Sends each decision as a span, and as the event `gen_ai.evaluation.result` inside it.

    The span is a child of the one that is current where the decision is made, and lasts as long as the guard worked.
    Its status is an error where the guard failed; a stop is no error. Nothing is queued or sent here: the processors of
    the providers do that, and a batching one never makes a decision wait.
    """

    def __init__(
        self,
        *,
        privacy: Privacy = SHOWN,
        experimental: bool | None = None,
        tracer_provider: trace.TracerProvider | None = None,
        logger_provider: logs.LoggerProvider | None = None,
    ) -> None:
        """Take providers.

        Args:
            privacy: what the span holds of the judged text; nothing by default. Positions and tokens are never sent.
            experimental: also send names that OpenTelemetry has not released; None asks the environment variable
                OTEL_SEMCONV_STABILITY_OPT_IN for gen_ai_latest_experimental.
            tracer_provider: makes the spans; None takes the global one, even if it is set later.
            logger_provider: makes the events; None takes the global one, even if it is set later.
        """
        self._privacy = Privacy(text=privacy.text, hash_key=privacy.hash_key, positions=False)
        self._experimental = names.is_opted_in() if experimental is None else experimental
        own_version = version("guardrail-stream")
        self._tracer = trace.get_tracer(names.SCOPE, own_version, tracer_provider)
        self._logger = logs.get_logger(names.SCOPE, own_version, logger_provider)

    def write(self, decision: Decision, text: str) -> None:
        """Hand the span and the event to their providers."""
        record = Record.of(decision, text, self._privacy)
        ended = round(decision.time * 1e9)
        span = self._tracer.start_span(
            names.span_name(record.direction),
            attributes=names.span_attributes(record, decision, experimental=self._experimental),
            start_time=ended - round(decision.latency_ms * 1e6),
        )
        try:
            if record.failure is not None:
                told = f"{record.failure.kind}: {record.failure.message}"
                span.set_status(trace.Status(trace.StatusCode.ERROR, told))
            level = level_of(decision)
            event = logs.LogRecord(
                timestamp=ended,
                context=trace.set_span_in_context(span),
                severity_number=_SEVERITIES[level],
                severity_text=logging.getLevelName(level),
                attributes=names.event_attributes(record, decision),
                event_name=names.EVENT,
            )
            self._logger.emit(event)
        finally:
            span.end(ended)

    def close(self) -> None:
        """Do nothing: what waits lies with the providers, which their owner shuts down; the SDK's do it at exit."""

"""A receiver that speaks OTLP as collectors do, over HTTP and gRPC, and the SDK's providers that send to it."""

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_service
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

PROTOCOLS = ("http", "grpc")


@dataclass
class Received:
    """What came over the wire, as protocol buffers.

    Attributes:
        bodies: the requests as they were sent.
        spans: in the order of arrival.
        events: log records likewise.
        resources: attributes of their resources.
    """

    bodies: list[bytes] = field(default_factory=list)
    spans: list[Any] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    scopes: set[tuple[str, str]] = field(default_factory=set)

    def take(self, request: Any) -> None:
        """Keep what a request holds."""
        self.bodies.append(request.SerializeToString())
        for resource in getattr(request, "resource_spans", None) or request.resource_logs:
            for scope in getattr(resource, "scope_spans", None) or resource.scope_logs:
                self.scopes.add((scope.scope.name, scope.scope.version))
                self.spans += getattr(scope, "spans", ())
                self.events += getattr(scope, "log_records", ())

    def span(self, name: str) -> Any:
        """The one span of that name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found


def attributes(sent: Any) -> dict[str, Any]:
    """The attributes of a span or an event as Python values."""
    return {pair.key: _value(pair.value) for pair in sent.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)


@dataclass
class Telemetry:
    """An application's providers.

    Attributes:
        tracer_provider: sends spans in batches.
        logger_provider: sends events in batches.
        received: what arrived at the other end.
    """

    tracer_provider: TracerProvider
    logger_provider: LoggerProvider
    received: Received

    def flush(self) -> Received:
        """Send what waits, and return what has arrived."""
        assert self.tracer_provider.force_flush()
        assert self.logger_provider.force_flush()
        return self.received


@contextmanager
def sending_to(endpoint: str, protocol: str, received: Received) -> Iterator[Telemetry]:
    """Providers with the SDK's own processors and exporters."""
    spans: Any
    events: Any
    if protocol == "grpc":
        spans, events = GrpcSpanExporter(endpoint, insecure=True), GrpcLogExporter(endpoint, insecure=True)
    else:
        spans, events = HttpSpanExporter(f"{endpoint}/v1/traces"), HttpLogExporter(f"{endpoint}/v1/logs")
    telemetry = Telemetry(TracerProvider(), LoggerProvider(), received)
    telemetry.tracer_provider.add_span_processor(BatchSpanProcessor(spans))
    telemetry.logger_provider.add_log_record_processor(BatchLogRecordProcessor(events))
    try:
        yield telemetry
    finally:
        telemetry.tracer_provider.shutdown()
        telemetry.logger_provider.shutdown()


@contextmanager
def receiving(protocol: str) -> Iterator[tuple[str, Received]]:
    """A receiver on a free port; yields its endpoint and what it received."""
    received = Received()
    with _receiving_grpc(received) if protocol == "grpc" else _receiving_http(received) as port:
        yield f"http://127.0.0.1:{port}", received


@contextmanager
def _receiving_http(received: Received) -> Iterator[int]:
    kinds: dict[str, tuple[Any, Any]] = {
        "/v1/traces": (trace_service.ExportTraceServiceRequest, trace_service.ExportTraceServiceResponse),
        "/v1/logs": (logs_service.ExportLogsServiceRequest, logs_service.ExportLogsServiceResponse),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request, response = kinds[self.path]
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.headers["content-type"] == "application/x-protobuf"
            unpacked = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            received.take(request.FromString(unpacked))
            answer = response().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextmanager
def _receiving_grpc(received: Received) -> Iterator[int]:
    class Traces(trace_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802  # the service's
            received.take(request)
            return trace_service.ExportTraceServiceResponse()

    class Logs(logs_grpc.LogsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802  # the service's
            received.take(request)
            return logs_service.ExportLogsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    trace_grpc.add_TraceServiceServicer_to_server(Traces(), server)  # type: ignore[no-untyped-call]  # generated code
    logs_grpc.add_LogsServiceServicer_to_server(Logs(), server)  # type: ignore[no-untyped-call]  # generated code
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()

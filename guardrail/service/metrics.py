"""Prometheus metrics: what was decided, how long it took, what waits. Labels are bounded; none holds text of users."""

import importlib.metadata
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from guardrail.decision import Decision
from guardrail.guard import Guard

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one server, in a registry of their own. Safe for many threads. A sink of decisions."""

    # long: one statement for each metric, in a row
    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._decisions = Counter(
            "guardrail_decisions", "Decisions.", ["direction", "action", "reason", "category"], registry=registry
        )
        self._latency = Histogram(
            "guardrail_check_duration_seconds",
            "Time spent in the guard for one decision.",
            ["direction"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._failures = Counter(
            "guardrail_failures", "Decisions behind which something failed.", ["kind", "action"], registry=registry
        )
        self._tokens = Counter("guardrail_tokens", "Tokens judged.", ["direction"], registry=registry)
        self._chars = Counter(
            "guardrail_chars", "Characters by what became of them.", ["direction", "fate"], registry=registry
        )
        self._requests = Counter(
            "guardrail_http_requests", "HTTP requests.", ["route", "method", "status"], registry=registry
        )
        self._request_time = Histogram(
            "guardrail_http_request_duration_seconds",
            "Time from a request to the end of its response.",
            ["route"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.requests_open = Gauge("guardrail_http_requests_open", "Requests being answered.", registry=registry)
        self.hold = Histogram(
            "guardrail_hold_seconds",
            "Time from a piece of an LLM's stream to the release of its last character.",
            registry=registry,
            buckets=_SECONDS,
        )

    def write(self, decision: Decision, text: str) -> None:  # noqa: ARG002  # the sink protocol's
        """Count a decision."""
        direction, action = decision.direction.value, decision.action.value
        self._decisions.labels(direction, action, decision.reason.value, decision.category or "").inc()
        self._latency.labels(direction).observe(decision.latency_ms / 1000)
        self._tokens.labels(direction).inc(decision.n_tokens)
        if decision.failure:
            self._failures.labels(decision.failure.kind, action).inc()
        for fate in ("released", "withheld", "leaked", "unjudged"):
            self._chars.labels(direction, fate).inc(getattr(decision, f"{fate}_chars"))

    def close(self) -> None:
        """Do nothing."""

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered; the route is its template, never the path."""
        self._requests.labels(route, method, status).inc()
        self._request_time.labels(route).observe(seconds)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Show a number as it is when it is asked for."""
        Gauge(name, about, registry=self.registry).set_function(value)

    def watch_guard(self, guard: Guard) -> None:
        """Show which guard runs, and what waits for it."""
        info, engine = guard.engine.info, guard.engine
        version = importlib.metadata.version("guardrail-stream")
        Info("guardrail_build", "What runs.", registry=self.registry).info(
            {"version": version, "model": info.name, "engine": info.engine, "precision": info.precision}
            | {"policy": guard.policy.name}
        )
        self.watch("guardrail_queue_waiting", "Calls that wait for the model.", lambda: getattr(engine, "n_waiting", 0))
        self.watch("guardrail_engine_tokens", "Tokens that the model was given.", lambda: getattr(engine, "n_read", 0))

    def text(self) -> bytes:
        """Return all of it, as Prometheus reads it."""
        return generate_latest(self.registry)

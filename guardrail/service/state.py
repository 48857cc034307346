"""What the routes share: the guard, with a policy for each route and key, metrics, bounds and the latest decisions."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace

from starlette.requests import HTTPConnection

from guardrail.decision import Decision
from guardrail.engines.runtime import Runtime
from guardrail.guard import Guard
from guardrail.policy_file import PolicySource, load_policy
from guardrail.records import MemorySink, Sink
from guardrail.service.bounds import Bounds
from guardrail.service.callers import Caller, Keys
from guardrail.service.metrics import Metrics
from guardrail.service.recording import sinks_of
from guardrail.service.sections import GuardSettings
from guardrail.service.settings import Settings


@dataclass(slots=True)
class Service:
    """One server's state. For one event loop.

    Attributes:
        settings: what it was told.
        guard: judges; records into `latest`, the metrics and the record file.
        keys: know who calls.
        metrics: count.
        bounds: around every request.
        latest: the latest decisions.
        policy: of routes and keys that name none.
    """

    settings: Settings
    guard: Guard
    keys: Keys
    metrics: Metrics
    bounds: Bounds
    latest: MemorySink
    policy: PolicySource
    _guards: dict[str, Guard] = field(default_factory=dict)

    def guard_for(self, caller: Caller, route: str) -> Guard:
        """Return the guard with the policy of the key, else of the route, else its own.

        Args:
            caller: who calls.
            route: a field of `RouteSettings`.
        """
        policy = caller.policy or getattr(self.settings.routes, route)
        if policy is None:
            return self.guard
        if policy not in self._guards:
            self._guards[policy] = self.guard.with_policy(policy)
        return self._guards[policy]

    @property
    def n_record_failures(self) -> int:
        """Records that a sink lost."""
        return self.guard.n_record_failures

    @property
    def n_records_waiting(self) -> int:
        """Records that are not stored yet."""
        return sum(getattr(sink, "n_waiting", 0) for sink in self.guard.sinks)

    def reload_policies(self) -> None:
        """Read all policies again; those in use until then stay with the requests that have them.

        Raises:
            PolicyError: one of them cannot be read; then nothing changes.
        """
        guard = self.guard.with_policy(self.policy)
        guards = {policy: guard.with_policy(policy) for policy in named_policies(self.settings)}
        self.guard, self._guards = guard, guards


class _Latest(MemorySink):
    """The latest decisions without their tokens' verdicts: nobody asks for those, and they are most of the memory."""

    def write(self, decision: Decision, text: str) -> None:
        """Keep the decision."""
        super().write(replace(decision, tokens=(), readings=()), text)


@contextmanager
def opened(settings: Settings, bounds: Bounds, metrics: Metrics, guard: Guard | None) -> Iterator[Service]:
    """Load the guard, unless one is given, and close what was loaded at the end."""
    latest = _Latest(settings.server.n_decisions)
    with ExitStack() as stack:
        sinks: list[Sink] = [metrics, latest]
        sinks += [stack.enter_context(closing(sink)) for sink in sinks_of(settings.records)]
        policy: PolicySource = guard.policy if guard else settings.guard.policy
        if guard is None:
            guard = stack.enter_context(load_guard(settings.guard))
        recording = guard.with_policy(policy, sinks=[*guard.sinks, *sinks])
        service = Service(
            settings,
            recording,
            Keys(settings.keys, is_local=not (settings.server.is_public or settings.server.allow_public)),
            metrics,
            bounds,
            latest,
            policy,
        )
        service.reload_policies()
        metrics.watch_guard(recording)
        metrics.watch("guardrail_record_failures", "Records that a sink lost.", lambda: service.n_record_failures)
        metrics.watch("guardrail_records_waiting", "Records not stored yet.", lambda: service.n_records_waiting)
        yield service


def named_policies(settings: Settings) -> set[str]:
    """Return the policies of routes and keys."""
    routes = settings.routes
    named = {routes.moderation, routes.chat, routes.streams, routes.litellm, *(key.policy for key in settings.keys)}
    return {policy for policy in named if policy}


def load_guard(settings: GuardSettings) -> Guard:
    """Load the guard that settings name, with the one it asks in doubt, if one is named.

    Raises:
        ConfigurationError: it cannot be loaded.
    """
    guard = _load_one(settings)
    if settings.strong is None:
        return guard
    try:
        return Guard.cascade(guard, load_guard(settings.strong))
    except BaseException:
        guard.close()
        raise


def _load_one(settings: GuardSettings) -> Guard:
    policy = load_policy(settings.policy)
    if endpoint := settings.generative:
        key = endpoint.api_key.get_secret_value()
        return Guard.generative(
            endpoint.base_url, model=endpoint.model, api_key=key, mode=endpoint.mode, timeout_s=endpoint.timeout_s,
            policy=policy,
        )  # fmt: skip
    runtime = _runtime(settings)
    if settings.model == "default":
        guard = Guard.default(policy=policy, runtime=runtime)
    else:
        guard = Guard.load(
            settings.model, policy=policy, engine=settings.engine, precision=settings.precision, runtime=runtime
        )
    guard.warm_up()  # an endpoint is reached with the first check: the server starts before it
    return guard


def _runtime(settings: GuardSettings) -> Runtime:
    return Runtime(
        threads=settings.threads,
        kv_precision=settings.kv,
        max_context=settings.context,
        timeout_s=settings.timeout_s,
        max_waiting=settings.max_waiting,
        max_sessions=settings.max_sessions,
        device=settings.device,
    )


def service_of(connection: HTTPConnection) -> Service:
    """Return the state of the application that got this request or WebSocket."""
    service = connection.app.state.service
    if not isinstance(service, Service):
        raise RuntimeError("the application has not started")
    return service


async def authorised(connection: HTTPConnection) -> Caller:
    """Return who calls: a dependency of every route but the operators'.

    Raises:
        ServiceError: 401, the key is missing or unknown; 429, its rate is used up.
    """
    service = service_of(connection)
    caller = service.keys.caller_of(connection)
    connection.state.caller = caller
    await service.keys.count(caller)
    return caller

"""The rewards over HTTP: what OpenRLHF's remote reward model posts, and a route of our own for verl, TRL and others."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from guardrail.errors import ConfigurationError, MissingExtra
from guardrail.service.bounds import Bounds
from guardrail.service.callers import Keys
from guardrail.service.errors import ServiceError
from guardrail.service.metrics import CONTENT_TYPE, Metrics
from guardrail.training.rewards.bodies import GetReward, Reward, get_reward_answer, reward_answer
from guardrail.training.rewards.gathering import Gathering
from guardrail.training.rewards.opening import open_rewarder
from guardrail.training.rewards.rewarder import Rewarder
from guardrail.training.rewards.serve_settings import RewardServeSettings
from guardrail.training.rewards.values import REWARDS, Completion, Opinion, RewardKind

try:
    from prometheus_client import Counter, Histogram
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "starlette", "service") from error

B = TypeVar("B", bound=BaseModel)
Answer = Callable[[Sequence[Opinion], RewardKind], dict[str, Any]]

_CODES = {404: "not_found", 405: "method_not_allowed"}


class Rewards:
    """The routes and what they share. For one event loop."""

    def __init__(self, settings: RewardServeSettings, rewarder: Rewarder, metrics: Metrics) -> None:
        """Take a rewarder; the reward that the settings name must be one that it can give."""
        rewarder.check(settings.kind)
        self._settings, self._rewarder, self._metrics = settings, rewarder, metrics
        self._keys = Keys(settings.keys, is_local=not (settings.server.is_public or settings.server.allow_public))
        self.gathering = Gathering(self._judge, most=settings.batch, most_waiting=settings.max_waiting)
        registry = metrics.registry
        self._judged = Counter(
            "guardrail_reward_completions", "Completions judged.", ["kind", "outcome"], registry=registry
        )
        self._failed = Counter("guardrail_reward_failures", "Completions not judged.", ["error"], registry=registry)
        self._sizes = Histogram(
            "guardrail_reward_batch_size", "Completions judged together.", registry=registry,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
        )  # fmt: skip
        metrics.watch(
            "guardrail_reward_waiting", "Completions that wait or are judged.", lambda: self.gathering.n_waiting
        )

    async def get_reward(self, request: Request) -> Response:
        """Answer OpenRLHF."""
        body, kind = await self._read(request, GetReward), request.query_params.get("kind")
        return await self._answer(self._kind(kind), body.completions(), get_reward_answer)

    async def reward(self, request: Request) -> Response:
        """Answer everybody else."""
        body = await self._read(request, Reward)
        return await self._answer(self._kind(body.kind), [one.completion() for one in body.completions], reward_answer)

    async def healthz(self, _request: Request) -> Response:
        """Say that the process answers."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, _request: Request) -> Response:
        """Say whether it takes work."""
        n_waiting = self.gathering.n_waiting
        is_full = n_waiting >= self._settings.max_waiting
        status = {"status": "queue full" if is_full else "ready", "queue": n_waiting}
        return JSONResponse(status, 503 if is_full else 200)

    async def version(self, _request: Request) -> Response:
        """Say what judges."""
        said = {"version": version("guardrail-stream"), "kind": self._settings.kind, **self._rewarder.identity}
        return JSONResponse(said)

    async def metrics(self, _request: Request) -> Response:
        """Return Prometheus metrics."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE)

    async def _read(self, request: Request, kind: type[B]) -> B:
        """Return the body, after who calls was checked.

        Raises:
            ServiceError: 401 without a known key, 429 beyond its rate, 400 for a body of another shape.
        """
        caller = self._keys.caller_of(request)
        request.state.caller = caller
        await self._keys.count(caller)
        try:
            return kind.model_validate(json.loads(await request.body()))
        except ValidationError as error:
            raise ServiceError(_said(error), code="invalid_request") from None
        except (ValueError, RecursionError):
            raise ServiceError("the body is no JSON", code="invalid_request") from None

    def _kind(self, asked: str | None) -> RewardKind:
        kind = next((kind for kind in REWARDS if kind == (asked or self._settings.kind)), None)
        if kind is None:
            raise ServiceError(f"unknown kind; valid: {', '.join(REWARDS)}", code="invalid_request", param="kind")
        self._rewarder.check(kind)
        return kind

    async def _answer(self, kind: RewardKind, completions: Sequence[Completion], form: Answer) -> Response:
        if len(completions) > self._settings.max_completions:
            raise ServiceError(
                f"more than {self._settings.max_completions} completions in one request", status=413, code="too_large"
            )
        opinions = await self.gathering.ask(completions, kind)
        return JSONResponse(form(opinions, kind))

    def _judge(self, completions: Sequence[Completion], kind: RewardKind) -> list[Opinion]:
        """Judge a batch and count it; blocks."""
        opinions = self._rewarder.opinions(completions, with_helpfulness=kind == "mixed")
        self._sizes.observe(len(opinions))
        for opinion in opinions:
            self._judged.labels(kind, _outcome(opinion)).inc()
            if opinion.failure:
                self._failed.labels(opinion.failure).inc()
        return opinions


# long: what is built once, with the two small functions that close over it
def create_app(settings: RewardServeSettings, *, rewarder: Rewarder | None = None) -> Starlette:
    """Return the application; the models are loaded when it starts.

    Args:
        settings: what it is told.
        rewarder: judges; None loads the one that the settings name, and closes it.
    """
    metrics = Metrics()
    bounds = Bounds(settings.server.bounds(), metrics)
    routes: dict[str, tuple[str, str]] = {
        "/get_reward": ("POST", "get_reward"), "/reward": ("POST", "reward"), "/healthz": ("GET", "healthz"),
        "/readyz": ("GET", "readyz"), "/version": ("GET", "version"), "/metrics": ("GET", "metrics"),
    }  # fmt: skip

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        judging: Rewarder
        if rewarder is None:
            judging = await asyncio.to_thread(open_rewarder, settings.rewards, sinks=(metrics,))
        else:
            judging = rewarder
        try:
            app.state.rewards = Rewards(settings, judging, metrics)
            work = asyncio.create_task(app.state.rewards.gathering.run())
            yield
            work.cancel()
        finally:
            if rewarder is None:
                judging.close()

    def to(name: str) -> Callable[[Request], Awaitable[Response]]:
        async def route(request: Request) -> Response:
            answer: Response = await getattr(request.app.state.rewards, name)(request)
            return answer

        return route

    app = Starlette(
        routes=[Route(path, to(name), methods=[method]) for path, (method, name) in routes.items()],
        lifespan=lifespan,
        exception_handlers={
            ServiceError: _service_error, ConfigurationError: _misshapen, HTTPException: _http_error
        },
    )  # fmt: skip
    app.state.bounds = bounds
    app.add_middleware(bounds.around)
    return app


async def _service_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ServiceError):
        raise error
    return error.response()


async def _misshapen(_request: Request, error: Exception) -> Response:
    return ServiceError(str(error), code="invalid_request").response()


async def _http_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return ServiceError(str(error.detail), status=error.status_code, code=_CODES.get(error.status_code)).response()


def _said(error: ValidationError) -> str:
    """Return what is wrong, place by place, without a word of what was sent."""
    wrong = []
    for one in error.errors(include_url=False, include_input=False)[:5]:
        is_unknown = one["type"] == "extra_forbidden"
        place = ".".join(str(part) for part in (one["loc"][:-1] if is_unknown else one["loc"]))
        said = "unknown key" if is_unknown else one["msg"].removeprefix("Value error, ")
        wrong.append(f"{place}: {said}" if place else said)
    return "; ".join(wrong)


def _outcome(opinion: Opinion) -> str:
    if opinion.failure:
        return "failed"
    if not opinion.is_safe:
        return "unsafe"
    return "refusal" if opinion.is_refusal else "answer"

"""For operators: is it alive, is it ready, which models, metrics, the latest decisions."""

import importlib.metadata
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from guardrail.records import record_values
from guardrail.service.callers import Caller
from guardrail.service.errors import ServiceError
from guardrail.service.metrics import CONTENT_TYPE
from guardrail.service.moderation import ALIASES
from guardrail.service.state import authorised, service_of

router = APIRouter(tags=["operators"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request, response: Response) -> dict[str, Any]:
    """Say whether it takes work: the model is loaded, its queue is not full, and it is not shutting down."""
    service = service_of(request)
    n_waiting, n_most = getattr(service.guard.engine, "n_waiting", 0), service.settings.guard.max_waiting
    reason = "draining" if service.bounds.is_draining else "queue full" if n_waiting >= n_most else ""
    if reason:
        response.status_code = 503
        response.headers["retry-after"] = "1"
    return {"status": reason or "ready", "model": service.guard.engine.info.name, "queue": n_waiting}


@router.get("/version")
async def version(request: Request) -> dict[str, str]:
    """Say what runs."""
    service = service_of(request)
    info = service.guard.engine.info
    return {
        "version": importlib.metadata.version("guardrail-stream"),
        "model": info.name,
        "model_sha256": info.sha256,
        "engine": info.engine,
        "precision": info.precision,
        "policy": service.guard.policy.name,
        "policy_sha256": service.guard.policy.sha256,
    }


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Return Prometheus metrics."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE)


@router.get("/v1/models")
async def models(request: Request, caller: Annotated[Caller, Depends(authorised)]) -> dict[str, Any]:  # noqa: ARG001  # a key is needed
    """List the upstream's models, and the names under which the guard model answers."""
    return {"object": "list", "data": [_model(name) for name in await _model_names(request)]}


@router.get("/v1/models/{name:path}")
async def model(name: str, request: Request, caller: Annotated[Caller, Depends(authorised)]) -> dict[str, Any]:  # noqa: ARG001  # a key is needed
    """Tell of one model."""
    if name not in await _model_names(request):
        raise ServiceError("there is no such model", status=404, code="model_not_found", param="model")
    return _model(name)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "guardrail"}


async def _model_names(request: Request) -> list[str]:
    upstream = request.app.state.proxy.upstream
    theirs = await upstream.model_names(request.headers) if upstream else []
    return [*theirs, service_of(request).guard.engine.info.name, *ALIASES]


@router.get("/v1/decisions")
async def decisions(
    request: Request,
    caller: Annotated[Caller, Depends(authorised)],
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> dict[str, Any]:
    """Return the records of the caller's latest decisions, newest first; they hold no text of users."""
    latest = list(service_of(request).latest.decisions)
    own = [decision for decision in reversed(latest) if decision.tenant == caller.tenant]
    return {"object": "list", "data": [record_values(decision) for decision in own[:limit]]}

"""The application: every route, the bounds around them, and errors in OpenAI's envelope."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.responses import Response

from guardrail.errors import ConfigurationError
from guardrail.guard import Guard
from guardrail.service import chat, litellm_route, moderation, operators, playground, policies, socket, streams
from guardrail.service.bounds import Bounds
from guardrail.service.errors import ServiceError
from guardrail.service.metrics import Metrics
from guardrail.service.settings import Settings
from guardrail.service.state import opened

ABOUT = "Judges prompts, answers and streams token by token with a safety model; speaks OpenAI's formats."


def create_app(settings: Settings | None = None, *, guard: Guard | None = None) -> FastAPI:
    """Return the application; the model is loaded when it starts.

    Args:
        settings: what it is told; None takes the environment.
        guard: judges, with its own policy and sinks; None loads the one that the settings name, and closes it.
    """
    settings = settings or Settings()
    metrics = Metrics()
    bounds = Bounds(settings.server, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with opened(settings, bounds, metrics, guard) as service:
            app.state.service = service
            async with litellm_route.opened(app), chat.opened(app, settings.upstream), streams.opened(app):
                yield

    openapi_url = "/openapi.json" if settings.server.openapi else None  # FastAPI's pages for it come from a CDN
    app = FastAPI(
        title="guardrail", version=version("guardrail-stream"), description=ABOUT, lifespan=lifespan,
        docs_url=None, redoc_url=None, openapi_url=openapi_url,
    )  # fmt: skip
    app.state.bounds = bounds
    pages = (playground,) if settings.server.playground else ()
    for routes in (operators, moderation, chat, litellm_route, streams, socket, policies, *pages):
        app.include_router(routes.router)
    if settings.server.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.server.cors_origins, allow_methods=["*"], allow_headers=["*"]
        )
    app.add_middleware(bounds.around)
    _handle_errors(app)
    return app


def _handle_errors(app: FastAPI) -> None:
    """Answer every error in OpenAI's envelope, without a word of what was sent."""

    @app.exception_handler(ServiceError)
    async def service_error(_request: Request, error: ServiceError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        wrong = [_said(one) for one in error.errors()]
        message = "; ".join(f"{place}: {said}" if place else said for place, said in wrong[:5])
        return ServiceError(message, param=wrong[0][0] or None, code="invalid_request").response()

    @app.exception_handler(ConfigurationError)
    async def misshapen(_request: Request, error: ConfigurationError) -> Response:
        return ServiceError(str(error), code="invalid_request").response()

    @app.exception_handler(HTTPException)
    async def http_error(_request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, ServiceError):  # FastAPI's own, around what the body's reading raised
            return error.__cause__.response()
        message = f"{error.detail}: {_NO_ROUTE}" if error.status_code == HTTPStatus.NOT_FOUND else str(error.detail)
        return ServiceError(message, status=error.status_code, code=_CODES.get(error.status_code)).response()


def _said(wrong: dict[str, Any]) -> tuple[str, str]:
    """Return a place and what is wrong there; a key that nobody knows is text of the client's, and is not repeated."""
    is_unknown = wrong["type"] == "extra_forbidden"
    place = wrong["loc"][1:-1] if is_unknown else wrong["loc"][1:]
    return ".".join(str(part) for part in place), "unknown key" if is_unknown else wrong["msg"]


_CODES = {404: "not_found", 405: "method_not_allowed"}
_NO_ROUTE = (
    "no such path; clients of OpenAI's API need a base_url that ends with /v1, and /openapi.json lists all paths"
)
